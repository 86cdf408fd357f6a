from __future__ import annotations

import pytest

from appliance.conversation import Message, Role, Text
from appliance.stabiliser.countdown import TOKEN_COUNTDOWN
from appliance.stabiliser.rule import Action, Change, excerpt
from tests.unit.stabiliser.clients import MARK, asked, conversation

COUNT = "<total_tokens>14962655 tokens left</total_tokens>"


def system(text: str) -> Message:
    return Message(Role.SYSTEM, (Text(text, MARK),))


@pytest.mark.parametrize("text", [COUNT, f"<system-reminder>\n{COUNT}\n</system-reminder>"])
def test_a_count_behind_a_question_is_removed_and_hands_its_mark_back(text: str) -> None:
    changed, changes = TOKEN_COUNTDOWN.apply(conversation([Text("A")], [asked(), system(text)]))
    assert changed.messages[1:] == (Message(Role.USER, (Text("Fix the bug", MARK),)),)
    assert changes == (Change("token_countdown", Action.REMOVED, "messages[2].blocks[0]", excerpt(text), len(text)),)


def test_turn_after_turn_the_history_is_the_same() -> None:
    def turn(count: int, *questions: str) -> tuple[Message, ...]:
        counted = [
            (asked(each), system(f"<total_tokens>{count - n} tokens left</total_tokens>"))
            for n, each in enumerate(questions)
        ]
        return TOKEN_COUNTDOWN.apply(
            conversation([], [each for pair in counted for each in pair])
        ).conversation.messages

    first, second = turn(900, "one"), turn(800, "one", "two")
    assert first == second[:1]


@pytest.mark.parametrize(
    "given", [asked(COUNT), system(f"{COUNT} Be brief."), system("<total_tokens>5</total_tokens>")]
)
def test_anything_else_stays(given: Message) -> None:
    one = conversation([], [asked(), given])
    assert TOKEN_COUNTDOWN.apply(one).conversation is one


def test_a_conversation_of_nothing_else_stays() -> None:
    one = conversation([Text(COUNT)])
    assert TOKEN_COUNTDOWN.apply(one).conversation is one
