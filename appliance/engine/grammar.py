"""Grammars that hold an answer to a JSON schema, kept from letting a model write blanks for ever."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar

MAX_WHITESPACE_CHARACTERS = 16
"""Between two JSON tokens: room for a line break and seven levels of indentation."""


def bounded_whitespace(grammar: StructuredOutputsParams | None) -> StructuredOutputsParams | None:
    """The same grammar with a bound on whitespace between JSON tokens: without one, a small model that begins to write
    blanks goes on to its last token.

    vLLM's own `disable_any_whitespace` wants one back end for all requests, which then refuses the schemas that only
    others can hold, and it allows no whitespace at all. Returned as it is where xgrammar cannot hold the schema (vLLM
    then takes another back end, which knows no bound) and where there is no JSON.
    """
    if grammar is None:
        return None
    if grammar.structural_tag is not None:
        tag = json.loads(grammar.structural_tag)
        _bound(tag)
        return replace(grammar, structural_tag=json.dumps(tag))
    schema = {"type": "object"} if grammar.json_object else grammar.json
    if not isinstance(schema, dict) or not _is_held_by_xgrammar(grammar):
        return grammar
    content = {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": MAX_WHITESPACE_CHARACTERS}
    return StructuredOutputsParams(structural_tag=json.dumps({"type": "structural_tag", "format": content}))


def _bound(node: Any) -> None:
    """In place, in all JSON of a structural tag. Its schemas are data and not looked into."""
    if isinstance(node, list):
        for item in node:
            _bound(item)
    elif isinstance(node, dict) and node.get("type") == "json_schema":
        if node.get("style", "json") == "json" and node.get("max_whitespace_cnt") is None:
            node["max_whitespace_cnt"] = MAX_WHITESPACE_CHARACTERS
    elif isinstance(node, dict):
        for item in node.values():
            _bound(item)


def _is_held_by_xgrammar(grammar: StructuredOutputsParams) -> bool:
    try:
        validate_xgrammar_grammar(SamplingParams(structured_outputs=grammar))
    except VLLMValidationError:
        return False
    return True
