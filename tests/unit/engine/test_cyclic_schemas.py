"""JSON schemas that refer to themselves: up to the engine's grammar they cost little, and what cannot be held is the
client's mistake."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from vllm.config import StructuredOutputsConfig
from vllm.exceptions import VLLMClientError
from xgrammar import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, VocabType

from appliance.conversation import Conversation, OutputFormat, OutputKind, Tool
from appliance.engine.prompt import Prompt
from appliance.engine.rendering import Renderer
from appliance.errors import RequestError
from tests.unit.engine.conversations import REQUIRED, conversation, user

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

Schema = dict[str, Any]
MOST_SECONDS = 5.0
"""Of processor time. What does not end, or grows with the number of paths, takes more than any machine's noise."""


def mesh(size: int) -> Schema:
    """Every object has every object as a property: the paths through them are without number."""
    names = [f"n{number}" for number in range(size)]
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    objects = {name: {"type": "object", "properties": properties} for name in names}
    return {"$ref": "#/$defs/n0", "$defs": objects}


def doubling(levels: int) -> Schema:
    """Twice as many paths with every level."""
    choices = {f"n{level}": {"anyOf": [{"$ref": f"#/$defs/n{level - 1}"}] * 2} for level in range(1, levels)}
    return {"$ref": f"#/$defs/n{levels - 1}", "$defs": {"n0": {"type": "string"}, **choices}}


TREE: Schema = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
SCHEMAS: dict[str, Schema] = {
    "itself": {"$ref": "#"},
    "in turn": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "tree": TREE,
    "one of itself": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "all of itself": {"allOf": [{"$ref": "#"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}},
    "not for xgrammar": {"type": "array", "uniqueItems": True, "items": {"$ref": "#"}},
    "not for guidance": {
        "type": "object",
        "properties": {"a": {"$ref": "#"}},
        "propertyNames": {"type": "string"},
        "patternProperties": {"^b": {"$ref": "#"}},
    },
    "nowhere": {"$ref": "#/$defs/a"},
    "mesh": mesh(8),
    "doubling": doubling(40),
}
CALL = '<tool_call>\n{"name": "t", "arguments": {}}\n</tool_call>'
TOKENS = TokenizerInfo([chr(byte) for byte in range(128)], VocabType.RAW, stop_token_ids=[0])


def askings(schema: Schema) -> list[Conversation]:
    """All the ways in which a client sends a schema."""
    tool = Tool("t", "takes anything", schema)
    return [
        conversation(user("Hi"), tools=(tool,)),
        conversation(user("Hi"), tools=(replace(tool, strict=True),)),
        conversation(user("Hi"), tools=(tool,), tool_choice=REQUIRED),
        conversation(user("Hi"), output_format=OutputFormat(OutputKind.JSON_SCHEMA, schema=schema)),
    ]


def verify(renderer: Renderer, prompt: Prompt) -> None:
    """As an engine does before it takes a request. Raises `VLLMClientError`: a worker makes it a client's mistake."""
    model = renderer._model
    prompt.params.verify(model, None, StructuredOutputsConfig(), renderer._renderer.get_tokenizer())


def compiled(prompt: Prompt) -> GrammarMatcher:
    tag = prompt.params.structured_outputs.structural_tag
    grammar = GrammarCompiler(TOKENS, max_threads=1).compile_grammar(Grammar.from_structural_tag(tag))
    return GrammarMatcher(grammar, terminate_without_stop_token=True)


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_schema_that_refers_to_itself_is_held_or_refused_in_bounded_time(renderer: Renderer, name: str) -> None:
    began = time.process_time()
    for asked in askings(SCHEMAS[name]):
        try:
            prompt = await renderer.render(asked)
            verify(renderer, prompt)
        except (RequestError, VLLMClientError):
            continue
        if prompt.params.structured_outputs is not None and prompt.params.structured_outputs.structural_tag is not None:
            compiled(prompt)
    assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        (conversation(tools=(Tool("t", parameters=TREE),), tool_choice=REQUIRED), CALL),
        (conversation(output_format=OutputFormat(OutputKind.JSON_SCHEMA, schema=TREE)), "{}"),
    ],
)
async def test_a_tree_is_held_to_its_schema_at_any_depth(renderer: Renderer, asked: Conversation, form: str) -> None:
    prompt = await renderer.render(asked)
    tree: Schema = {}
    for _ in range(20):
        tree = {"left": tree, "right": {}}
    answer = form.replace("{}", json.dumps(tree))
    assert compiled(prompt).accept_string(answer)
    assert not compiled(prompt).accept_string(answer.replace('"right"', '"wrong"', 1))
