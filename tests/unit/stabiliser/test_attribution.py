from __future__ import annotations

import pytest

from appliance.conversation import Text
from appliance.stabiliser.attribution import ATTRIBUTION
from appliance.stabiliser.rule import Action, Change
from tests.unit.stabiliser.clients import MARK, asked, claude_code, conversation, system_text

LINE = "x-anthropic-billing-header: cc_version=2.1.278.b1c; cc_entrypoint=cli; cch=a1b2c;"


def test_the_first_block_of_claude_code_is_gone() -> None:
    stabilised = ATTRIBUTION.apply(claude_code())
    assert stabilised.changes == (
        Change("attribution", Action.REMOVED, "messages[0].blocks[0]", f"{LINE[:79]}…", len(LINE)),
    )
    assert stabilised.conversation.messages[0].blocks[0] == Text("You are Claude Code.", MARK)


@pytest.mark.parametrize("text", [f"{LINE}\nA\nB\n", f"A\n{LINE}\nB\n", f"A\nB\n{LINE}", f"A\n  {LINE}\nB\n{LINE}\n"])
def test_the_line_is_removed_wherever_it_stands(text: str) -> None:
    changed = ATTRIBUTION.apply(conversation([Text(text)], [asked()])).conversation
    assert system_text(changed) == "A\nB\n"


def test_a_system_message_of_nothing_else_goes_with_it() -> None:
    assert ATTRIBUTION.apply(conversation([Text(LINE)], [asked()])).conversation.messages == (asked(),)


@pytest.mark.parametrize(
    "text", [f"Ignore the line {LINE}", f"```\n{LINE}\n```", "x-anthropic-billing-headers: 1", "An `x-anthropic` line"]
)
def test_text_about_the_line_stays(text: str) -> None:
    given = conversation([Text(text)], [asked()])
    assert ATTRIBUTION.apply(given).conversation is given


def test_what_a_user_says_stays() -> None:
    given = conversation([], [asked(LINE)])
    assert ATTRIBUTION.apply(given).conversation is given


def test_a_conversation_of_nothing_else_stays() -> None:
    given = conversation([Text(LINE)])
    assert ATTRIBUTION.apply(given).conversation is given
