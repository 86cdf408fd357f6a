from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation import Conversation, Message, Role, Text, Thinking, ToolCall, ToolResult
from appliance.generation import Delta, ToolCallDelta
from appliance.next_turn import PROBES, AnswerText, common_prefix, next_turns

QUESTION = Message(Role.USER, (Text("Hi"),))


def answer_of(*deltas: Delta) -> Message:
    answer = AnswerText()
    for delta in deltas:
        answer.add(delta)
    return answer.message()


def test_an_answer_is_put_together_as_a_client_sends_it_back() -> None:
    answer = answer_of(
        Delta(0, thinking="Hm"),
        Delta(0, thinking="m."),
        Delta(0, text="I "),
        Delta(0, text="look", tool_calls=(ToolCallDelta(1, "b", "read", '{"p'), ToolCallDelta(0, "a", "list", "{}"))),
        Delta(0, tool_calls=(ToolCallDelta(1, arguments='": 1}'),)),
    )
    blocks = (Thinking("Hmm."), Text("I look"), ToolCall("a", "list", "{}"), ToolCall("b", "read", '{"p": 1}'))
    assert answer == Message(Role.ASSISTANT, blocks)


def test_nothing_said_is_an_answer_without_blocks() -> None:
    assert answer_of(Delta(0)).blocks == ()


def test_after_an_answer_comes_a_question() -> None:
    answer = Message(Role.ASSISTANT, (Text("Ho"),))
    turns = next_turns(Conversation("m", (QUESTION,)), answer)
    assert [turn.messages[:2] for turn in turns] == [(QUESTION, answer)] * 2
    assert [turn.messages[2:] for turn in turns] == [(Message(Role.USER, (Text(probe),)),) for probe in PROBES]
    assert turns[0].sampling.max_tokens == 1


def test_after_calls_of_tools_come_their_results() -> None:
    answer = Message(Role.ASSISTANT, (ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")))
    first, _ = next_turns(Conversation("m", (QUESTION,)), answer)
    assert first.messages[2:] == tuple(Message(Role.TOOL, (ToolResult(name, (Text(PROBES[0]),)),)) for name in "ab")


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_what_two_prompts_have_in_common_is_a_prefix_of_both_and_the_longest(
    first: list[int], second: list[int]
) -> None:
    common = common_prefix(first, second)
    end = len(common)
    assert first[:end] == second[:end] == common
    assert first[end : end + 1] != second[end : end + 1] or end == len(first) == len(second)
