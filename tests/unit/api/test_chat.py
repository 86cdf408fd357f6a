from __future__ import annotations

from typing import Any

import pytest

from appliance.api.chat import ChatCodec, decode_conversation
from appliance.api.diagnostics import Diagnostics
from appliance.conversation import Conversation, Hints, Identity, Message, Reasoning, Role, Sampling, Text
from appliance.errors import GenerationFailed, InvalidRequest

CODEC = ChatCodec(diagnostics=Diagnostics(4))
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_the_least_request() -> None:
    assert decode_conversation(BODY, {}) == Conversation("m", (Message(Role.USER, (Text("Hi"),)),))


def test_fields_that_are_not_known_or_mean_nothing_here_are_ignored() -> None:
    extra = {
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "store": True,
        "modalities": ["text"],
        "safety_identifier": "x",
        "prediction": {"type": "content", "content": "x"},
        "invented": [1, 2],
    }
    assert decode_conversation(BODY | extra, {}) == decode_conversation(BODY, {})


def test_what_would_have_changed_the_answer_is_told() -> None:
    found = decode_conversation(BODY | {"verbosity": "low", "web_search_options": {}}, {})
    assert [entry.field for entry in found.reporting.ignored] == ["web_search_options", "verbosity"]


def test_everything_beside_messages_is_read() -> None:
    body = BODY | {
        "temperature": 0.5,
        "reasoning_effort": "high",
        "chat_template_kwargs": {"enable_thinking": False},
        "cache_salt": "s",
        "parallel_tool_calls": False,
        "prompt_cache_key": "session",
        "user": "ada",
        "priority": -1,
    }
    assert decode_conversation(body, {"user-agent": "agent/1"}) == Conversation(
        "m",
        (Message(Role.USER, (Text("Hi"),)),),
        parallel_tool_calls=False,
        sampling=Sampling(temperature=0.5),
        reasoning=Reasoning(enabled=False, effort="high"),
        template_arguments={"enable_thinking": False},
        cache_salt="s",
        identity=Identity("session", None, "agent/1", "ada"),
        hints=Hints(1),
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "hihg"}, "reasoning_effort"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"cache_salt": 1}, "cache_salt"),
        ({"prompt_cache_key": "x" * 257}, "prompt_cache_key"),
        ({"user": "x" * 257}, "user"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await CODEC.decode(BODY | fields, {})
    assert caught.value.param == param


def test_an_error_carries_its_hint_in_the_message() -> None:
    error = GenerationFailed("It broke.", hint="Try again.")
    expected = b'{"error":{"message":"It broke. Try again.","type":"server_error","param":null,"code":null}}'
    assert CODEC.problem(error, "req_1") == (500, expected, [])
    assert CODEC.encode_stream_error(error, "req_1") == b"data: " + expected + b"\n\ndata: [DONE]\n\n"
