from __future__ import annotations

from typing import Any

import pytest

from appliance.api.chat_messages import decode_messages
from appliance.api.chat_reading import Reading
from appliance.api.custom_tools import custom_arguments
from appliance.api.fields import Fields
from appliance.conversation import CacheMark, Image, Message, Role, Text, Thinking, ToolCall, ToolResult
from appliance.errors import InvalidRequest

USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def decoded(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return decode_messages(Fields({"messages": list(messages)}), Reading())


def blocks_of(message: dict[str, Any]) -> tuple[Any, ...]:
    return decoded(message)[0].blocks


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_a_string_is_one_text_and_an_empty_string_is_nothing(role: str) -> None:
    (message,) = decoded({"role": role, "content": "Hi", "name": "ada"})
    assert message == Message(Role(role), (Text("Hi"),), "ada")
    assert blocks_of({"role": role, "content": ""}) == ()


def test_parts_keep_their_order_and_marks() -> None:
    url = "data:image/png;base64,AAAA"
    parts = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "text", "text": "", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    assert blocks_of({"role": "user", "content": parts}) == (
        Text("a", CacheMark(300)),
        Image(url, "low"),
        Text("", CacheMark(3600)),
    )


def test_an_assistant_thinks_then_speaks_then_calls() -> None:
    message = {"role": "assistant", "tool_calls": [CALL], "content": "Now.", "reasoning_content": "Hm"}
    assert blocks_of(message) == (Thinking("Hm"), Text("Now."), ToolCall("c1", "f", "{}"))


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_comes_under_either_name(name: str) -> None:
    assert blocks_of({"role": "assistant", "content": None, name: "Hm"}) == (Thinking("Hm"),)
    both = {"role": "assistant", "content": None, "reasoning": "Hm", "reasoning_content": "Hm"}
    assert blocks_of(both) == (Thinking("Hm"),)


def test_a_refusal_is_text_of_the_assistant() -> None:
    assert blocks_of({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}) == (Text("No."),)
    assert blocks_of({"role": "assistant", "content": None, "refusal": "No."}) == (Text("No."),)


def test_a_tool_message_is_one_result() -> None:
    message = {"role": "tool", "tool_call_id": "c1", "content": "ok", "cache_control": {"type": "ephemeral"}}
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    (_, found) = decode_messages(Fields({"messages": [call, message]}), Reading())
    assert found.blocks == (ToolResult("c1", (Text("ok"),), mark=CacheMark(300)),)


def test_a_mark_on_a_message_is_a_mark_on_its_last_block_unless_that_has_one() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    assert blocks_of({"role": "user", "content": "Hi", **mark}) == (Text("Hi", CacheMark(300)),)
    own = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert blocks_of({"role": "user", "content": [own], **mark}) == (Text("a", CacheMark(3600)),)
    assert blocks_of({"role": "user", "content": "", **mark}) == ()


def refused(**body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_messages(Fields(body), Reading())
    return caught.value


@pytest.mark.parametrize(
    ("message", "param", "says"),
    [
        ("Hi", "messages[1]", "'Hi' is not allowed; use an object"),
        ({"content": "Hi"}, "messages[1].role", "missing; use one of system, developer, user, assistant, tool"),
        ({"role": "usr", "content": "Hi"}, "messages[1].role", "did you mean user?"),
        ({"role": "function", "content": "Hi", "name": "f"}, "messages[1].role", '"tool" with tool_call_id'),
        ({"role": "user"}, "messages[1].content", "is missing; use a string or an array of parts"),
        ({"role": "user", "content": 7}, "messages[1].content", "7 is not allowed"),
        ({"role": "user", "content": ["Hi"]}, "messages[1].content[0]", "use an object"),
        ({"role": "user", "content": [{}]}, "messages[1].content[0].type", "use one of text, image_url"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[1].content[0].type", "'input_audio'"),
        ({"role": "user", "content": [{"type": []}]}, "messages[1].content[0].type", "an array of 0"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text", "missing; use a string"),
        ({"role": "user", "content": [{"type": "refusal"}]}, "messages[1].content[0].type", "'refusal'"),
        ({"role": "system", "content": [{"type": "image_url"}]}, "messages[1].content[0].type", "one of text in"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]},
            "messages[1].content[0].image_url.url",
            "data:image/",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x", "detail": "big"}}]},
            "messages[1].content[0].image_url.detail",
            "auto, low, high",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "eternal"}}]},
            "messages[1].content[0].cache_control.type",
            '"ephemeral"',
        ),
        (
            {"role": "user", "content": "a", "cache_control": {"type": "ephemeral", "ttl": "6m"}},
            "messages[1].cache_control.ttl",
            "5m, 1h",
        ),
        ({"role": "assistant", "content": None}, "messages[1].content", "missing"),
        ({"role": "assistant", "function_call": {}}, "messages[1].function_call", "use tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[1].tool_calls[0].function", "missing"),
        (
            {"role": "assistant", "tool_calls": [CALL | {"type": "web_search"}]},
            "messages[1].tool_calls[0].type",
            "'web_search'",
        ),
        (
            {"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]},
            "messages[1].tool_calls[0].custom",
            "missing",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f"}}]},
            "messages[1].tool_calls[0].custom.input",
            "missing",
        ),
        ({"role": "assistant", "tool_calls": [CALL | {"id": ""}]}, "messages[1].tool_calls[0].id", "not empty"),
        (
            {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": {"a": 1}}}]},
            "messages[1].tool_calls[0].function.arguments",
            "an object is not allowed; use a string",
        ),
        (
            {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f"}}]},
            "messages[1].tool_calls[0].function.arguments",
            "JSON text",
        ),
        ({"role": "tool", "content": "ok"}, "messages[1].tool_call_id", "missing"),
    ],
)
def test_an_error_names_the_path_the_value_and_what_is_allowed(message: Any, param: str, says: str) -> None:
    error = refused(messages=[USER, message])
    assert error.param == param
    assert error.message.startswith(param)
    assert says in error.message


@pytest.mark.parametrize("messages", [None, [], {}, "Hi"])
def test_there_must_be_messages(messages: Any) -> None:
    assert refused(messages=messages).param == "messages"


def test_a_long_value_is_shortened_in_the_message() -> None:
    error = refused(messages=[{"role": "x" * 10_000, "content": "Hi"}])
    assert len(error.message) < 300


def test_a_breakpoint_is_a_mark_whose_ttl_the_request_may_tell() -> None:
    def part(**ttl: str) -> dict[str, Any]:
        return {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", **ttl}}

    message = {"role": "user", "content": [part(), part(ttl="12h")]}
    (found,) = decode_messages(Fields({"messages": [message]}), Reading(breakpoint_seconds=60))
    assert found.blocks == (Text("a", CacheMark(60)), Text("a", CacheMark(43200)))


def test_a_call_of_a_custom_tool_is_json_on_the_inside() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "patch", "input": 'say "hi"'}}
    assert blocks_of({"role": "assistant", "tool_calls": [call]}) == (
        ToolCall("c", "patch", custom_arguments('say "hi"')),
    )
