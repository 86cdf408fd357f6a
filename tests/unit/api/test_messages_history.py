from __future__ import annotations

from typing import Any

import pytest

from appliance.conversation import CacheMark, Message, Role, Text, Thinking
from appliance.errors import InvalidRequest
from tests.unit.api.messages_requests import USER_TURN, decode

MARKED = {"cache_control": {"type": "ephemeral"}}


def turn(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def test_the_system_prompt_is_the_first_message() -> None:
    blocks = [{"type": "text", "text": "A"}, {"type": "text", "text": "B", **MARKED}]
    assert decode(system="Be brief").messages[0] == Message(Role.SYSTEM, (Text("Be brief"),))
    assert decode(system=blocks).messages[0] == Message(Role.SYSTEM, (Text("A"), Text("B", CacheMark(300.0))))


@pytest.mark.parametrize("system", ["", [], None])
def test_an_empty_system_prompt_is_none(system: Any) -> None:
    assert decode(system=system).messages == (Message(Role.USER, (Text("Hi"),)),)


def test_system_messages_stand_where_they_were_sent() -> None:
    messages = decode(messages=[USER_TURN, turn("system", "Now in French"), turn("user", "Go")]).messages
    assert [message.role for message in messages] == [Role.USER, Role.SYSTEM, Role.USER]


def test_a_system_message_for_one_turn_is_gone_after_it() -> None:
    passing = turn("system", "Only now", clear_at="next_user_message")
    assert len(decode(messages=[USER_TURN, passing]).messages) == 2
    assert len(decode(messages=[USER_TURN, passing, turn("assistant", "A")]).messages) == 3
    assert decode(messages=[USER_TURN, passing, turn("assistant", "A"), USER_TURN]).messages == (
        decode(messages=[USER_TURN, turn("assistant", "A"), USER_TURN]).messages
    )


def test_turns_of_one_role_that_follow_each_other_are_one() -> None:
    messages = decode(messages=[turn("user", "A"), turn("user", "B"), turn("assistant", "C"), turn("assistant", "D")])
    assert messages.messages == (
        Message(Role.USER, (Text("A"), Text("B"))),
        Message(Role.ASSISTANT, (Text("C"), Text("D"))),
    )


def test_a_last_turn_of_the_assistant_is_the_beginning_of_the_answer() -> None:
    assert decode(messages=[USER_TURN, turn("assistant", "The answer is (")]).continue_final
    assert not decode().continue_final
    thought = [{"type": "thinking", "thinking": "Hm"}]
    conversation = decode(messages=[USER_TURN, turn("assistant", thought)])
    assert conversation.messages[1].blocks == (Thinking("Hm"),)
    assert not conversation.continue_final
    assert not decode(messages=[USER_TURN, turn("assistant", "")]).continue_final


def test_a_history_that_ends_in_a_call_is_refused_in_the_words_of_the_hosted_api() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}
    with pytest.raises(InvalidRequest, match="`tool_use` ids were found without `tool_result` blocks") as caught:
        decode(messages=[USER_TURN, turn("assistant", [call])])
    assert caught.value.param == "messages[1].content"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("Hi", "messages"),
        ({"role": "user"}, "messages"),
        (["Hi"], "messages[0]"),
        ([{"content": "Hi"}], "messages[0].role"),
        ([turn("developer", "Hi")], "messages[0].role"),
        ([turn("usr", "Hi")], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([turn("user", 5)], "messages[0].content"),
        ([turn("user", {"type": "text", "text": "A"})], "messages[0].content"),
        ([turn("system", [{"type": "image"}])], "messages[0].content[0].type"),
        ([turn("system", "A", clear_at="soon")], "messages[0].clear_at"),
    ],
)
def test_a_wrong_history_is_named(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(messages=messages)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("system", "param"), [(5, "system"), ([{"type": "image"}], "system[0].type"), (["A"], "system[0]")]
)
def test_a_wrong_system_prompt_is_named(system: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(system=system)
    assert caught.value.param == param
