from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.context_clearing import (
    CLEARED_RESULT,
    Applied,
    Cleared,
    apply_edits,
    without_thinking,
    without_tool_uses,
)
from appliance.api.context_edits import ClearThinking, ClearToolUses, Edit
from appliance.conversation import CacheMark, Conversation, Message, Role, Text, Thinking, ToolCall, ToolResult


def call(number: int, name: str = "read") -> Message:
    return Message(Role.ASSISTANT, (Thinking(f"thought {number}"), ToolCall(f"c{number}", name, '{"n": 1}')))


def result(number: int, mark: CacheMark | None = None) -> Message:
    return Message(Role.USER, (ToolResult(f"c{number}", (Text(f"result {number} " * 10, mark),)),))


def loop(*numbers: int) -> tuple[Message, ...]:
    return tuple(message for number in numbers for message in (call(number), result(number)))


QUESTION = Message(Role.USER, (Text("Go on"),))


def words(conversation: Conversation) -> int:
    """A stand-in for tokens: the words of all texts."""
    texts = []
    for message in conversation.messages:
        for block in message.blocks:
            parts = block.content if isinstance(block, ToolResult) else (block,)
            texts += [part.text for part in parts if isinstance(part, Text | Thinking)]
    return sum(len(text.split()) for text in texts)


class Counter:
    def __init__(self) -> None:
        self.num_counts = 0

    async def __call__(self, conversation: Conversation) -> int:
        self.num_counts += 1
        return words(conversation)


async def cleared(messages: tuple[Message, ...], *edits: Edit, counter: Counter | None = None) -> Cleared:
    return await apply_edits(Conversation("m", messages), edits, counter or Counter())


def results_of(messages: tuple[Message, ...]) -> list[bool]:
    """Of each result, whether it is still there."""
    blocks = [block for message in messages for block in message.blocks if isinstance(block, ToolResult)]
    return [block.content != CLEARED_RESULT for block in blocks]


def thoughts_of(messages: tuple[Message, ...]) -> list[str]:
    return [block.text for message in messages for block in message.blocks if isinstance(block, Thinking)]


def test_all_results_but_the_last_are_cleared_and_the_calls_stay() -> None:
    messages, num_cleared = without_tool_uses((QUESTION, *loop(1, 2, 3)), ClearToolUses(keep=1))
    assert (results_of(messages), num_cleared) == ([False, False, True], 2)
    assert [block.arguments for message in messages for block in message.blocks if isinstance(block, ToolCall)] == [
        '{"n": 1}'
    ] * 3


def test_inputs_are_cleared_where_that_is_asked_for() -> None:
    history = (call(1, "read"), result(1), call(2, "bash"), result(2))

    def inputs(inputs_of: frozenset[str] | None) -> list[str]:
        messages, _ = without_tool_uses(history, ClearToolUses(keep=0, inputs_of=inputs_of))
        return [block.arguments for message in messages for block in message.blocks if isinstance(block, ToolCall)]

    assert inputs(None) == ["{}", "{}"]
    assert inputs(frozenset({"bash"})) == ['{"n": 1}', "{}"]
    assert inputs(frozenset()) == ['{"n": 1}', '{"n": 1}']


def test_results_of_excluded_tools_stay() -> None:
    history = (call(1, "memory"), result(1), call(2), result(2))
    messages, num_cleared = without_tool_uses(history, ClearToolUses(keep=0, exclude=frozenset({"memory"})))
    assert (results_of(messages), num_cleared) == ([True, False], 1)


def test_a_mark_in_a_cleared_result_stays() -> None:
    mark = CacheMark(300.0)
    messages, _ = without_tool_uses((call(1), result(1, mark)), ClearToolUses(keep=0))
    assert messages[1].blocks[0].mark == mark


@given(st.integers(0, 5), st.integers(0, 5))
def test_clearing_twice_is_clearing_once(num_calls: int, keep: int) -> None:
    edit = ClearToolUses(keep=keep)
    once, num_cleared = without_tool_uses(loop(*range(num_calls)), edit)
    assert num_cleared == max(0, num_calls - keep)
    assert without_tool_uses(once, edit) == (once, 0)


def test_thoughts_of_a_turn_with_many_calls_stay_or_go_together() -> None:
    history = (QUESTION, *loop(1, 2), QUESTION, *loop(3), QUESTION, *loop(4, 5))
    messages, num_cleared = without_thinking(history, ClearThinking(2))
    assert (thoughts_of(messages), num_cleared) == (["thought 3", "thought 4", "thought 5"], 1)
    messages, num_cleared = without_thinking(history, ClearThinking(1))
    assert (thoughts_of(messages), num_cleared) == (["thought 4", "thought 5"], 2)


async def test_nothing_is_counted_where_nothing_can_be_cleared() -> None:
    counter = Counter()
    history = (QUESTION, *loop(1))
    assert await cleared(history, ClearThinking(1), ClearToolUses(0, keep=3), counter=counter) == Cleared(
        Conversation("m", history)
    )
    assert counter.num_counts == 0


async def test_what_was_cleared_is_counted() -> None:
    history = (QUESTION, *loop(1, 2), QUESTION, *loop(3))
    found = await cleared(history, ClearThinking(1), ClearToolUses(0, keep=1))
    assert found.original_tokens == words(Conversation("m", history))
    first, second = found.applied
    assert first == Applied(ClearThinking(1), 1, 4)
    assert (second.cleared, second.cleared_tokens) == (2, 2 * (20 - len(CLEARED_RESULT[0].text.split())))
    assert words(found.conversation) == (found.original_tokens or 0) - first.cleared_tokens - second.cleared_tokens


@pytest.mark.parametrize(
    ("edit", "is_made"),
    [
        (ClearToolUses(trigger_tokens=67, keep=0), True),
        (ClearToolUses(trigger_tokens=68, keep=0), False),
        (ClearToolUses(trigger_tokens=None, trigger_uses=2, keep=0), True),
        (ClearToolUses(trigger_tokens=None, trigger_uses=3, keep=0), False),
        (ClearToolUses(trigger_tokens=0, keep=0, at_least_tokens=36), True),
        (ClearToolUses(trigger_tokens=0, keep=0, at_least_tokens=37), False),
    ],
)
async def test_triggers_are_exceeded_not_reached_and_the_least_gain_is_reached(
    edit: ClearToolUses, is_made: bool
) -> None:
    history = (QUESTION, *loop(1, 2, 3))
    assert words(Conversation("m", history)) == 68
    found = await cleared(history, edit)
    assert bool(found.applied) == is_made
    assert (found.conversation.messages == history) != is_made


async def test_an_edit_sees_what_the_one_before_it_left() -> None:
    history = (QUESTION, *loop(1), QUESTION, *loop(2))
    tokens = words(Conversation("m", history))
    trigger = replace(ClearToolUses(keep=0), trigger_tokens=tokens - 1)
    assert len((await cleared(history, trigger)).applied) == 1
    assert [type(each.edit) for each in (await cleared(history, ClearThinking(1), trigger)).applied] == [ClearThinking]
