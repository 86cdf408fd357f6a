"""Whatever a client sends: an answer or an error in shape, never a fault of the box."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.api.scripted import ScriptedInference, client_of, new_app
from tests.unit.api.test_responses_client import CODEX

EVERY_FIELD: dict[str, Any] = {
    **CODEX,
    "stream": False,
    "metadata": {"a": "b"},
    "max_output_tokens": 5,
    "temperature": 1,
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"},
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "apply_patch"}]},
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "truncation": "auto",
    "nvext": {"extra_fields": ["timing"]},
    "input": [
        *CODEX["input"],
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                {"type": "input_file", "file_data": "YQ==", "filename": "a"},
            ],
        },
        {"type": "local_shell_call", "id": "l", "call_id": "c3", "action": {"command": ["ls"]}},
        {"type": "local_shell_call_output", "id": "c3", "output": "x"},
        {"type": "shell_call", "call_id": "c4", "action": {}},
        {"type": "shell_call_output", "call_id": "c4", "output": [{"stdout": "", "stderr": "", "outcome": {}}]},
        {"type": "computer_call", "call_id": "c5", "action": {}},
        {
            "type": "computer_call_output",
            "call_id": "c5",
            "output": {"type": "computer_screenshot", "image_url": "https://x"},
        },
        {"type": "mcp_call", "id": "m", "name": "n", "arguments": "{}", "output": "x", "error": {"a": 1}},
        {"type": "tool_search_call", "call_id": "c6", "arguments": {}},
        {"type": "tool_search_output", "call_id": "c6", "tools": [{"type": "function", "name": "x"}]},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "y"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "content": [{"text": "t"}]},
    ],
}


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(found for key, each in inside for found in paths_in(each, (*path, key)))]


def replaced(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(EVERY_FIELD)
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return body


PATHS = paths_in(EVERY_FIELD)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=4,
)


async def status_of(path: str, body: dict[str, Any]) -> int:
    async with client_of(new_app(ScriptedInference(), max_body_bytes=10**6)) as http:
        response = await http.post(path, content=msgspec.json.encode(body))
    if response.status_code != 200:
        assert response.json()["error"]["type"] == "invalid_request_error"
    return response.status_code


async def test_the_request_with_every_field_is_answered() -> None:
    for path in ("/v1/responses", "/v1/responses/input_tokens"):
        assert await status_of(path, EVERY_FIELD) == 200


@given(st.sampled_from(PATHS), values, st.booleans())
async def test_any_value_anywhere_is_answered_or_refused(path: tuple[Any, ...], value: Any, store: bool) -> None:
    assert await status_of("/v1/responses", replaced(path, value) | {"store": store}) in (200, 400, 404)
