from __future__ import annotations

import base64
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import DocumentError, Documents
from appliance.api.messages import MessagesCall, MessagesCodec
from appliance.conversation import Conversation, Document, Hints, Identity, Message, Role, Sampling, Text
from appliance.errors import GenerationFailed, InvalidRequest
from tests.examples import examples
from tests.unit.api.messages_requests import SEAL, decode, messages_body
from tests.unit.api.scripted import ScriptedInference, client_of, new_app

MARK = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
TEXT = {"type": "text", "text": "A", **MARK}
EVERYTHING: dict[str, Any] = {
    "model": "org/small",
    "max_tokens": 2048,
    "stream": True,
    "system": [TEXT],
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "stop_sequences": ["END"],
    "metadata": {"user_id": "ada"},
    "service_tier": "auto",
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "output_format": {"type": "json_schema", "schema": {"type": "object"}},
    "diagnostics": {"previous_message_id": "msg_1"},
    "chat_template_kwargs": {"a": 1},
    "nvext": {"agent_hints": {"priority": 1}, "cache_salt": "s"},
    "tools": [
        {"name": "read", "description": "R", "input_schema": {"type": "object"}, "strict": True, **MARK},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "tool", "name": "read", "disable_parallel_tool_use": True},
    "context_management": {
        "edits": [
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
            {
                "type": "clear_tool_uses_20250919",
                "trigger": {"type": "input_tokens", "value": 1},
                "keep": {"type": "tool_uses", "value": 0},
                "clear_at_least": {"type": "input_tokens", "value": 1},
                "exclude_tools": ["bash"],
                "clear_tool_inputs": ["read"],
            },
        ]
    },
    "messages": [
        {
            "role": "user",
            "content": [
                TEXT,
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "UERG"}},
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "B"}]},
                    "title": "t",
                    "context": "c",
                    "citations": {"enabled": True},
                },
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "C"}]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "tool_use", "id": "c", "name": "read", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "D"},
                        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "E"}},
                    ],
                }
            ],
        },
        {"role": "system", "content": "F", "clear_at": "never"},
        {"role": "assistant", "content": "G"},
    ],
}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, from the outside in."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


PLACES = list(paths(EVERYTHING))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5)
)
junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "id", "value", "ttl", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def replaced(body: Any, path: tuple[str | int, ...], value: Any) -> Any:
    changed = deepcopy(body)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def without(body: Any, path: tuple[str | int, ...]) -> Any:
    changed = deepcopy(body)
    place = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


def codec(extract: Any = lambda _: "the text of a PDF") -> MessagesCodec:
    return MessagesCodec(ScriptedInference(), seal=SEAL, diagnostics=Diagnostics(8), documents=Documents(extract))


async def decoded_or_refused(body: dict[str, Any]) -> MessagesCall | InvalidRequest:
    """Anything else that decoding raises fails the test."""
    try:
        return await codec().decode(body, {})
    except InvalidRequest as error:
        msgspec.json.encode(error.message)
        return error


def test_the_least_request() -> None:
    assert decode() == Conversation(
        "org/small", (Message(Role.USER, (Text("Hi"),)),), sampling=Sampling(max_tokens=2048)
    )


async def test_a_request_with_everything_is_read() -> None:
    call = await codec().decode(EVERYTHING, {"user-agent": "agent/1"})
    assert call.streams
    assert call.request.hides_thinking
    assert call.request.applied == ()
    conversation = call.conversation
    assert conversation.continue_final
    assert conversation.identity == Identity(client="agent/1", user="ada")
    assert conversation.hints == Hints(priority=1)
    assert conversation.cache_salt == "s"
    assert conversation.template_arguments == {"a": 1}
    assert conversation.reporting.diagnose
    assert [entry.field for entry in conversation.reporting.ignored] == [
        "tools[2]",
        "messages[0].content[4].citations",
        "messages[1].content[0].signature",
        "messages[1].content[1].data",
        "messages[1].content[2]",
    ]


@settings(max_examples=examples(400))
@given(st.sampled_from(PLACES), junk)
async def test_any_value_in_any_place_is_read_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    await decoded_or_refused(replaced(EVERYTHING, path, value))


@pytest.mark.parametrize("path", PLACES, ids=str)
async def test_a_request_without_any_one_thing_is_read_or_refused_with_its_name(path: tuple[str | int, ...]) -> None:
    outcome = await decoded_or_refused(without(EVERYTHING, path))
    if isinstance(outcome, InvalidRequest):
        assert outcome.param


async def test_the_text_of_a_pdf_is_a_document() -> None:
    data = base64.b64encode(b"%PDF").decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    body = messages_body(
        messages=[{"role": "user", "content": [{"type": "document", "source": source, "title": "p.pdf"}]}]
    )
    call = await codec(lambda content: f"read {content.decode()}").decode(body, {})
    assert call.conversation.messages[0].blocks == (Document("read %PDF", "p.pdf"),)

    def broken(_: bytes) -> str:
        raise DocumentError("this PDF cannot be read: no pages")

    with pytest.raises(InvalidRequest, match="no pages") as caught:
        await codec(broken).decode(body, {})
    assert caught.value.param == "messages[0].content[0].source.data"


async def test_to_count_tokens_no_length_of_the_answer_is_needed() -> None:
    body = messages_body(max_tokens=None, thinking={"type": "enabled", "budget_tokens": 9000})
    assert (await codec().count(body, {})).input_tokens == 40
    with pytest.raises(InvalidRequest, match="max_tokens"):
        await codec().decode(body, {})


def test_errors_have_the_protocols_envelope() -> None:
    error = GenerationFailed("It broke.", hint="Try again.")
    expected = b'{"type":"error","error":{"type":"api_error","message":"It broke. Try again."},"request_id":"req_1"}'
    assert codec().problem(error, "req_1") == (500, expected, [])
    assert codec().encode_stream_error(error, "req_1") == b"event: error\ndata: " + expected + b"\n\n"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        (b'{"model": "\\ud800"}', 400, "invalid_request_error"),
        (b'{"model": "\xff"}', 400, "invalid_request_error"),
        (b'{"messages": ' + b"[" * 5000, 400, "invalid_request_error"),
        (b" " * 20_000, 413, "request_too_large"),
    ],
)
async def test_a_body_that_is_no_request_gets_its_status_and_the_envelope(
    path: str, content: bytes, status: int, kind: str
) -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        response = await client.post(path, content=content)
    assert response.status_code == status
    assert response.json()["error"]["type"] == kind


async def test_another_method_is_refused_in_the_envelope() -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        response = await client.get("/v1/messages")
        missing = await client.post("/v1/messages/batches")
    assert (response.status_code, response.json()["error"]["type"]) == (405, "invalid_request_error")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
