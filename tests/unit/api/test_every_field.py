"""Every field of every protocol: missing, of another kind, too long, too deep. An answer or a refusal in the protocol's
envelope, short and by name; the engine is free afterwards."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.api.scripted import ScriptedInference, client_of, new_app
from tests.unit.api.test_messages import EVERYTHING, paths, without
from tests.unit.api.test_responses_bad_input import EVERY_FIELD as RESPONSES_BODY

Place = tuple[str | int, ...]

EXTENSION = {
    "agent_hints": {"priority": 1, "osl": 100},
    "cache_control": {"type": "ephemeral", "ttl": "5m"},
    "cache_salt": "s",
    "session_id": "s",
    "max_thinking_tokens": 50,
    "extra_fields": ["worker_id", "timing"],
}
DRAWING: dict[str, Any] = {
    "max_tokens": 50,
    "min_tokens": 1,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "frequency_penalty": 1,
    "presence_penalty": -1,
    "repetition_penalty": 1.1,
    "seed": 7,
    "stop": ["END"],
    "stop_token_ids": [5],
    "ignore_eos": True,
    "logit_bias": {"5": 1.5},
    "n": 1,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "prompt_cache_key": "k",
    "user": "ada",
    "nvext": EXTENSION,
}
CHAT_BODY: dict[str, Any] = {
    **DRAWING,
    "model": "m",
    "logprobs": True,
    "top_logprobs": 2,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"a": 1},
    "modalities": ["text"],
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "tools": [
        {"type": "function", "function": {"name": "read", "description": "R", "parameters": {"type": "object"}}},
        {"type": "custom", "custom": {"name": "patch", "description": "P", "format": {"type": "text"}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "read"}},
    "messages": [
        {"role": "system", "content": "S", "cache_control": {"type": "ephemeral"}},
        {
            "role": "user",
            "name": "ada",
            "content": [
                {"type": "text", "text": "A", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"}},
            ],
        },
        {
            "role": "assistant",
            "content": "B",
            "reasoning_content": "T",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "read", "arguments": '{"a": 1}'}},
                {"id": "d", "type": "custom", "custom": {"name": "patch", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "C"},
        {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "D"}]},
        {"role": "user", "content": "E"},
    ],
}
COMPLETIONS_BODY: dict[str, Any] = {
    **DRAWING,
    "model": "m",
    "prompt": ["a", "b"],
    "echo": False,
    "logprobs": 2,
    "best_of": 1,
    "suffix": "",
}
# Its PDF is none.
MESSAGES_BODY: dict[str, Any] = without(EVERYTHING, ("messages", 0, "content", 3))
ITEMS_BODY: dict[str, Any] = {"items": RESPONSES_BODY["input"][:20], "metadata": {"a": "b"}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT_BODY,
    "/v1/completions": COMPLETIONS_BODY,
    "/v1/messages": MESSAGES_BODY,
    "/v1/messages/count_tokens": MESSAGES_BODY,
    "/v1/responses": RESPONSES_BODY,
    "/v1/responses/input_tokens": RESPONSES_BODY,
    "/v1/responses/compact": RESPONSES_BODY,
    "/v1/conversations": ITEMS_BODY,
}
PLACES: dict[str, list[Place]] = {path: list(paths(body)) for path, body in BODIES.items()}
DEEP = msgspec.Raw(b"[" * 150 + b"]" * 150)
OTHER_KINDS: list[Any] = [
    None,
    True,
    -1,
    0.5,
    2**70,
    1e300,
    "",
    "\x00",
    [],
    [[]],
    {},
    {"": None},
    {"x" * 20_000: DEEP},
    DEEP,
    "x" * 20_000,
]
MAX_ERROR_BYTES = 3_000


def longer(value: Any) -> Any:
    """The same kind of value, too much of it."""
    match value:
        case str():
            return (value or "x") * 2_000
        case list():
            return value * 200
        case dict():
            return value | {f"key {number}": number for number in range(1_000)}
        case _:
            return 10**18


def replaced(body: dict[str, Any], place: Place, kind: int) -> dict[str, Any]:
    """With another kind of value at the place; with more of the same when there is no such kind."""
    changed: Any = deepcopy(body)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    old = inner[place[-1]]
    inner[place[-1]] = OTHER_KINDS[kind] if kind < len(OTHER_KINDS) else longer(old)
    found: dict[str, Any] = changed
    return found


class Asked:
    """One app for many requests. Every answer is checked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inference = ScriptedInference()
        self._app = new_app(self._inference, max_body_bytes=10**7)

    async def status_of(self, body: dict[str, Any]) -> int:
        """Of a request that is answered or refused as it must be."""
        async with client_of(self._app) as client:
            answer = await client.post(self._path, content=msgspec.json.encode(body))
        assert self._inference.num_open == 0
        if answer.status_code == 200:
            return 200
        assert answer.status_code in (400, 404), answer.text
        assert len(answer.content) < MAX_ERROR_BYTES
        whole = answer.json()
        assert (whole.get("type") == "error") is self._path.startswith("/v1/messages")
        assert whole["error"]["message"]
        return answer.status_code


asked = cache(Asked)


@pytest.mark.parametrize("path", BODIES)
async def test_the_request_with_every_field_is_answered(path: str) -> None:
    assert await asked(path).status_of(BODIES[path]) == 200


@pytest.mark.parametrize("path", BODIES)
async def test_without_any_one_field_a_request_is_answered_or_refused(path: str) -> None:
    for place in PLACES[path]:
        await asked(path).status_of(without(BODIES[path], place))


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=examples(300))
@given(data=st.data(), kind=st.integers(0, len(OTHER_KINDS)))
async def test_with_any_one_field_of_another_kind_or_size_a_request_is_answered_or_refused(
    path: str, data: st.DataObject, kind: int
) -> None:
    place = data.draw(st.sampled_from(PLACES[path]))
    await asked(path).status_of(replaced(BODIES[path], place, kind))
