"""Completions, request side: one prompt or many, as text or as tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from appliance.api.fields import Fields, is_integer, refusal
from appliance.conversation import RawPrompt

MAX_PROMPTS: Final = 64
PROMPT_FORMS: Final = "a string, an array of strings, an array of token ids, or an array of such arrays, none empty"


def decode_prompt(body: Fields) -> RawPrompt:
    """The first prompt, with the others as its `more`. Raises `InvalidRequest`."""
    value = body.raw("prompt")
    if isinstance(value, str) and value:
        return RawPrompt(value)
    if not isinstance(value, list) or not value:
        raise body.refuse("prompt", PROMPT_FORMS)
    if is_integer(value[0]):
        return _tokens(value, body.path("prompt"))
    if len(value) > MAX_PROMPTS:
        raise body.refuse("prompt", f"at most {MAX_PROMPTS} prompts in one request")
    decode: Callable[[Any, str], RawPrompt] = _text if isinstance(value[0], str) else _tokens
    first, *more = [decode(each, f"{body.path('prompt')}[{position}]") for position, each in enumerate(value)]
    return replace(first, more=tuple(more))


def _text(value: Any, path: str) -> RawPrompt:
    if not isinstance(value, str) or not value:
        raise refusal(path, value, "a string that is not empty, as the first prompt is")
    return RawPrompt(value)


def _tokens(value: Any, path: str) -> RawPrompt:
    if not isinstance(value, list) or not value:
        raise refusal(path, value, PROMPT_FORMS)
    if not all(is_integer(token) and token >= 0 for token in value):
        raise refusal(path, value, "token ids (integers ≥ 0)")
    return RawPrompt(token_ids=tuple(map(int, value)))
