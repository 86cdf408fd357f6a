from __future__ import annotations

from typing import Any

import pytest

from appliance.conversation import CacheMark, Text
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import decode

SHORT, LONG = CacheMark(300.0), CacheMark(3600.0)


def control(ttl: str | None = None) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral"} | ({} if ttl is None else {"ttl": ttl})}


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}, **fields}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def test_four_marks_are_kept_in_tools_system_and_messages() -> None:
    conversation = decode(
        tools=[tool("a"), tool("b", **control("1h"))],
        system=[text("S", **control("1h"))],
        messages=user(text("A", **control("5m")), text("B", **control())),
    )
    assert [each.mark for each in conversation.tools] == [None, LONG]
    assert [block.mark for message in conversation.messages for block in message.blocks] == [LONG, SHORT, SHORT]


def test_a_fifth_mark_is_refused() -> None:
    marked = [text(word, **control()) for word in "ABCD"]
    assert len(decode(messages=user(*marked)).messages[0].blocks) == 4
    with pytest.raises(InvalidRequest, match="at most 4 blocks") as caught:
        decode(tools=[tool("a", **control())], messages=user(*marked))
    assert caught.value.param == "messages[0].content[3].cache_control"
    with pytest.raises(InvalidRequest) as caught:
        decode(messages=user(*marked), **control())
    assert caught.value.param == "cache_control"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": user(text("A", **control()), text("B", **control("1h")))},
        {"tools": [tool("a", **control("5m"))], "system": [text("S", **control("1h"))]},
        {"system": [text("S", **control())], **control("1h")},
    ],
)
def test_a_long_mark_after_a_short_one_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="ttl must not"):
        decode(**fields)


def test_a_mark_on_the_whole_request_is_on_its_last_block() -> None:
    assert decode(messages=user(text("A"), text("B")), **control("1h")).messages[0].blocks == (
        Text("A"),
        Text("B", LONG),
    )


@pytest.mark.parametrize(
    "wrong", [{"type": "forever"}, {"type": "ephemeral", "ttl": "2h"}, {}, 5, {"type": "ephemeral", "ttl": 5}]
)
def test_a_wrong_mark_is_refused_wherever_it_is(wrong: Any) -> None:
    for fields in (
        {"cache_control": wrong},
        {"tools": [tool("a", cache_control=wrong)]},
        {"system": [text("S", cache_control=wrong)]},
        {"messages": user(text("A", cache_control=wrong))},
    ):
        with pytest.raises(InvalidRequest, match="cache_control"):
            decode(**fields)
