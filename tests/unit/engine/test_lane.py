from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from appliance.conversation import (
    Block,
    Conversation,
    Document,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    RawPrompt,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from appliance.engine.lane import BLOCK_CHARACTERS, LIGHT_CHARACTERS, VALUE_CHARACTERS, Lane, is_light
from tests.unit.engine.conversations import NAMED, REQUIRED, WEATHER, conversation, user

LONG = "x" * LIGHT_CHARACTERS
MANY = LIGHT_CHARACTERS // BLOCK_CHARACTERS
MANY_VALUES = LIGHT_CHARACTERS // VALUE_CHARACTERS


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()


async def test_what_is_light_is_done_in_place_and_the_rest_in_one_thread(lane: Lane) -> None:
    assert await lane.run(threading.current_thread, is_light=True) is threading.current_thread()
    beside = [await lane.run(threading.current_thread, is_light=False) for _ in range(3)]
    assert len(set(beside)) == 1
    assert beside[0] is not threading.current_thread()


async def test_a_lane_may_do_nothing_in_place() -> None:
    lane = Lane("test", in_place=False)
    assert await lane.run(threading.current_thread, is_light=True) is not threading.current_thread()
    lane.close()


@pytest.mark.parametrize("is_light", [True, False])
async def test_what_work_raises_arrives(lane: Lane, is_light: bool) -> None:
    def work() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await lane.run(work, is_light=is_light)


def test_a_short_question_is_light() -> None:
    assert is_light(conversation(user("Hi"), tools=(WEATHER,), sampling=Sampling(stop=("a",))))
    assert is_light(Conversation("m", (), raw=RawPrompt(text="Once")))


@pytest.mark.parametrize(
    "block",
    [
        Text(LONG),
        Thinking(LONG),
        Document("", title=LONG),
        Image(LONG),
        ToolCall("1", "f", LONG),
        ToolResult("1", (Text(LONG),)),
        ToolResult("1", (Text(""),) * MANY),
    ],
)
def test_a_long_block_is_not_light(block: Block) -> None:
    assert not is_light(conversation(user(block)))


@pytest.mark.parametrize(
    "asked",
    [
        conversation(*[user("")] * MANY),
        conversation(tools=(Tool("t", LONG),)),
        conversation(tools=(Tool("t", parameters={"properties": {LONG: {}}}),)),
        conversation(tools=(Tool("t", parameters={"enum": list(range(MANY_VALUES))}),)),
        conversation(template_arguments={"a": {"b": [LONG]}}),
        conversation(sampling=Sampling(stop=("a",) * MANY_VALUES)),
        conversation(sampling=Sampling(logit_bias=dict.fromkeys(map(str, range(MANY_VALUES)), 1.0))),
        Conversation("m", (), raw=RawPrompt(token_ids=(1,) * 2 * LIGHT_CHARACTERS)),
    ],
)
def test_neither_is_much_of_anything_else(asked: Conversation) -> None:
    assert not is_light(asked)


@pytest.mark.parametrize(
    "fields",
    [
        {"output_format": OutputFormat(OutputKind.JSON_OBJECT)},
        {"tools": (WEATHER,), "tool_choice": NAMED},
        {"tools": (WEATHER,), "tool_choice": REQUIRED},
        {"tools": (replace(WEATHER, strict=True),)},
    ],
)
def test_a_grammar_is_never_light(fields: dict[str, Any]) -> None:
    assert not is_light(conversation(**fields))


def test_weighing_ends_as_soon_as_it_is_too_much() -> None:
    class Unread(str):
        def __len__(self) -> int:
            raise AssertionError

    assert not is_light(Conversation("m", (Message(Role.USER, (Text(LONG), Text(Unread("a")))),)))
