from __future__ import annotations

from typing import Any

import pytest

from appliance.conversation import (
    Block,
    CacheMark,
    Document,
    Ignored,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import SEAL, USER_TURN, decode

PIXEL = "iVBORw0KGgo="
MARKED = {"cache_control": {"type": "ephemeral"}}
MARK = CacheMark(300.0)
CALL: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}}
ASKED: list[dict[str, Any]] = [USER_TURN, {"role": "assistant", "content": [CALL]}]


def user(*blocks: Any) -> tuple[Block, ...]:
    return decode(messages=[{"role": "user", "content": list(blocks)}]).messages[0].blocks


def assistant(*blocks: Any) -> tuple[Block, ...]:
    return decode(messages=[USER_TURN, {"role": "assistant", "content": list(blocks)}, USER_TURN]).messages[1].blocks


def result(content: Any, **fields: Any) -> Block:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **fields}
    (found,) = decode(messages=[*ASKED, {"role": "user", "content": [block]}]).messages[2].blocks
    return found


def ignored(*blocks: Any, role: str = "user") -> tuple[Ignored, ...]:
    turns = [{"role": role, "content": list(blocks)}, USER_TURN]
    return decode(messages=turns).reporting.ignored


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def document(source: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **fields}


def plain(words: str) -> dict[str, Any]:
    return {"type": "text", "media_type": "text/plain", "data": words}


def test_texts_and_images() -> None:
    encoded = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    remote = {"type": "url", "url": "https://x/y.png"}
    assert user(text("A"), {"type": "image", "source": encoded}, {"type": "image", "source": remote}) == (
        Text("A"),
        Image(f"data:image/png;base64,{PIXEL}"),
        Image("https://x/y.png"),
    )


def test_documents_are_text_with_a_name() -> None:
    assert user(document(plain("T"), title="a.txt", context="notes")) == (Document("T", "a.txt", "notes"),)
    nested = {"type": "content", "content": [text("A"), text("B")]}
    assert user(document(nested)) == (Document("A\nB"),)
    assert user(document({"type": "content", "content": "A"})) == (Document("A"),)


def test_images_in_a_document_follow_it() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    nested = {"type": "content", "content": [text("A"), image, text("B")]}
    assert user(document(nested)) == (Document("A\nB"), Image(f"data:image/png;base64,{PIXEL}"))


def test_search_results_are_documents_with_a_source() -> None:
    block = {"type": "search_result", "source": "https://x", "title": "X", "content": [text("A"), text("B")]}
    assert user(block) == (Document("A\nB", "X", source="https://x"),)


def test_that_no_citations_are_made_is_told() -> None:
    block = document(plain("T"), citations={"enabled": True})
    assert ignored(block) == (Ignored("messages[0].content[0].citations", "answers carry no citations"),)
    assert ignored(document(plain("T"), citations={"enabled": False})) == ()


def test_results_hold_text_images_documents_and_search_results() -> None:
    search = {"type": "search_result", "source": "s", "title": "", "content": [text("R")]}
    assert result([text("A"), document(plain("D")), search], is_error=True) == ToolResult(
        "toolu_1", (Text("A"), Document("D"), Document("R", source="s")), is_error=True
    )
    assert result("done") == ToolResult("toolu_1", (Text("done"),))


@pytest.mark.parametrize("content", ["", [], None])
def test_a_result_may_be_empty(content: Any) -> None:
    assert result(content) == ToolResult("toolu_1", ())


def test_a_call_keeps_its_id_and_its_input() -> None:
    block = CALL | {"id": "any id: 1", "input": {"a": [1, {"é": None}]}}
    (call,) = (
        decode(messages=[USER_TURN, {"role": "assistant", "content": [block]}, {"role": "user", "content": "stop"}])
        .messages[1]
        .blocks
    )
    assert call == ToolCall("any id: 1", "read", '{"a": [1, {"é": null}]}')


def test_a_thought_of_this_box_is_known_again() -> None:
    signature = SEAL.sign("Hm")
    assert assistant({"type": "thinking", "thinking": "Hm", "signature": signature}) == (
        Thinking("Hm", signature=signature),
    )


@pytest.mark.parametrize("signature", ["forged", SEAL.sign("Other"), "é"])
def test_a_thought_that_was_signed_elsewhere_keeps_its_text_and_is_told(signature: str) -> None:
    block = {"type": "thinking", "thinking": "Hm", "signature": signature}
    assert assistant(block) == (Thinking("Hm"),)
    assert ignored(block, role="assistant") == (
        Ignored("messages[0].content[0].signature", "this box did not sign this thought"),
    )


def test_a_closed_thought_is_opened() -> None:
    closed = SEAL.close("Secret")
    assert assistant({"type": "redacted_thinking", "data": closed}) == (Thinking("Secret"),)
    assert assistant({"type": "thinking", "thinking": "", "signature": closed}) == (Thinking("Secret"),)


def test_a_thought_that_was_closed_elsewhere_travels_and_is_told() -> None:
    block = {"type": "redacted_thinking", "data": "foreign"}
    assert assistant(block) == (Thinking("", sealed="foreign"),)
    (told,) = ignored(block, role="assistant")
    assert told.field == "messages[0].content[0].data"


@pytest.mark.parametrize(
    "kind",
    ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "mcp_tool_result", "code_execution_tool_result"],
)
def test_what_servers_did_is_left_out_and_told(kind: str) -> None:
    (told,) = ignored({"type": kind, "id": "x"}, text("A"), role="assistant")
    assert told == Ignored("messages[0].content[0]", f"blocks of type {kind} are not shown to the model")


def test_references_to_tools_are_left_out_of_results() -> None:
    assert result([{"type": "tool_reference", "tool_name": "x"}, text("A")]) == ToolResult("toolu_1", (Text("A"),))


@pytest.mark.parametrize(
    "block",
    [
        text("A") | MARKED,
        document(plain("T")) | MARKED,
        {"type": "image", "source": {"type": "url", "url": "http://x/y"}} | MARKED,
        {"type": "search_result", "source": "s", "title": "t", "content": [text("R")]} | MARKED,
        {"type": "search_result", "source": "s", "title": "t", "content": [text("R") | MARKED]},
    ],
)
def test_every_block_of_a_user_may_carry_a_mark(block: dict[str, Any]) -> None:
    (found,) = user(block)
    assert found.mark == MARK


def test_calls_thoughts_results_and_what_is_in_results_may_carry_marks() -> None:
    assert assistant({"type": "thinking", "thinking": "Hm"} | MARKED, text("A")) == (Thinking("Hm", MARK), Text("A"))
    calls = decode(messages=[USER_TURN, {"role": "assistant", "content": [CALL | MARKED]}, USER_TURN])
    assert calls.messages[1].blocks[0].mark == MARK
    assert result([text("A") | MARKED], **MARKED) == ToolResult("toolu_1", (Text("A", MARK),), mark=MARK)


def test_a_mark_on_a_block_that_is_left_out_is_on_the_block_before_it() -> None:
    server = {"type": "server_tool_use", "id": "x"} | MARKED
    assert assistant(text("A"), server) == (Text("A", MARK),)
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert assistant(text("A") | hour, server) == (Text("A", CacheMark(3600.0)),)
    assert assistant(server, text("A")) == (Text("A"),)


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (5, "messages[0].content[0]"),
        ({}, "messages[0].content[0].type"),
        ({"type": "txt"}, "messages[0].content[0].type"),
        ({"type": ["text"]}, "messages[0].content[0].type"),
        ({"type": "tool_use"}, "messages[0].content[0].type"),
        ({"type": "text"}, "messages[0].content[0].text"),
        ({"type": "text", "text": 1}, "messages[0].content[0].text"),
        ({"type": "image"}, "messages[0].content[0].source"),
        ({"type": "image", "source": {}}, "messages[0].content[0].source.type"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages[0].content[0].source.file_id"),
        ({"type": "image", "source": {"type": "url", "url": "ftp://x"}}, "messages[0].content[0].source.url"),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PIXEL}},
            "messages[0].content[0].source.media_type",
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}},
            "messages[0].content[0].source.data",
        ),
        (document({"type": "url", "url": "https://x"}), "messages[0].content[0].source.url"),
        (document({"type": "file", "file_id": "f"}), "messages[0].content[0].source.file_id"),
        (
            document({"type": "base64", "media_type": "text/plain", "data": "QQ=="}),
            "messages[0].content[0].source.media_type",
        ),
        (document({"type": "text", "media_type": "text/plain"}), "messages[0].content[0].source.data"),
        (document({"type": "content"}), "messages[0].content[0].source.content"),
        (
            document({"type": "content", "content": [document(plain("x"))]}),
            "messages[0].content[0].source.content[0].type",
        ),
        (document(plain("x"), title=1), "messages[0].content[0].title"),
        ({"type": "search_result", "source": "s", "content": "x"}, "messages[0].content[0].content"),
        ({"type": "search_result", "content": []}, "messages[0].content[0].source"),
        ({"type": "tool_result"}, "messages[0].content[0].tool_use_id"),
        (text("A") | {"cache_control": {"type": "x"}}, "messages[0].content[0].cache_control.type"),
        (text("A") | {"cache_control": {"type": "ephemeral", "ttl": "7m"}}, "messages[0].content[0].cache_control.ttl"),
        (text("A") | {"cache_control": 1}, "messages[0].content[0].cache_control"),
    ],
)
def test_a_wrong_block_is_named(block: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        user(block)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({"type": "thinking", "signature": "x"}, "messages[1].content[0].thinking"),
        ({"type": "thinking", "thinking": "x", "signature": 1}, "messages[1].content[0].signature"),
        ({"type": "redacted_thinking"}, "messages[1].content[0].data"),
        (CALL | {"id": ""}, "messages[1].content[0].id"),
        (CALL | {"name": None}, "messages[1].content[0].name"),
        (CALL | {"input": "{}"}, "messages[1].content[0].input"),
        (CALL | {"input": None}, "messages[1].content[0].input"),
    ],
)
def test_a_wrong_block_of_the_assistant_is_named(block: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        assistant(block)
    assert caught.value.param == param


def test_a_result_without_its_call_is_refused_in_the_words_of_the_hosted_api() -> None:
    block = {"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}
    with pytest.raises(
        InvalidRequest, match="unexpected `tool_use_id` found in `tool_result` blocks: toolu_9"
    ) as caught:
        decode(messages=[*ASKED, {"role": "user", "content": [block]}])
    assert caught.value.param == "messages[2].content[0].tool_use_id"


def test_a_message_of_nothing_but_a_call_is_a_message() -> None:
    conversation = decode(
        messages=[*ASKED, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}]
    )
    assert conversation.messages[1] == Message(Role.ASSISTANT, (ToolCall("toolu_1", "read", '{"path": "a"}'),))
