from __future__ import annotations

import pytest

from appliance.conversation import Text
from appliance.stabiliser.environment import ENVIRONMENT, GIT_STATUS, SESSION_IDS
from appliance.stabiliser.rule import Action
from tests.unit.stabiliser.clients import asked, claude_code, conversation, opencode, pi, system_text, texts

UUID = "123e4567-e89b-12d3-a456-426614174000"


def test_the_env_block_of_opencode_goes_to_the_first_user_message() -> None:
    changed, (change,) = ENVIRONMENT.apply(opencode())
    assert system_text(changed) == "You are opencode.\nInstructions from: AGENTS.md\nWrite tests.\n"
    moved, question = texts(changed.messages[1])
    assert moved.startswith("<system-reminder>\nHere is some useful information")
    assert moved.endswith("  Today's date: Tue Nov 24 2026\n</env>\n</system-reminder>\n")
    assert question == "Fix the bug"
    assert change.action is Action.MOVED


def test_the_environment_of_claude_code_goes_with_all_its_bullets_and_no_more() -> None:
    changed, (change,) = ENVIRONMENT.apply(claude_code())
    text = system_text(changed)
    assert "# Environment" not in text
    assert "Platform" not in text
    assert "gitStatus:" in text
    assert change.place == "messages[0].blocks[2]"
    assert texts(changed.messages[1])[1].endswith(" - Platform: linux\n</system-reminder>\n")


def test_the_folder_of_pi_is_moved() -> None:
    changed = ENVIRONMENT.apply(pi()).conversation
    assert system_text(changed) == "You are an expert coding assistant.\n\nCurrent date: 2026-11-24\n"
    assert "Current working directory: /home/u/one\n" in texts(changed.messages[1])[0]


def test_gits_status_ends_with_its_last_commit() -> None:
    changed, (change,) = GIT_STATUS.apply(claude_code())
    assert system_text(changed).endswith(" - Platform: linux\n\n\nThe following skills are available:\n- review\n")
    moved = texts(changed.messages[1])[1]
    assert moved.startswith("<system-reminder>\ngitStatus: This is")
    assert moved.endswith("f068493 Begin\n</system-reminder>\n")
    assert change.excerpt.startswith("gitStatus: This is the git status at the start")


def test_gits_status_in_tags_is_moved() -> None:
    given = conversation([Text("A\n<git_status>\n```\nM a.py\n```\n</git_status>\nB")], [asked()])
    assert system_text(GIT_STATUS.apply(given).conversation) == "A\nB"


@pytest.mark.parametrize(
    "line",
    [
        f"session_id: {UUID}",
        f"Session ID: {UUID}",
        f" - Session ID: {UUID}",
        "**Session-ID:** ses_4f2a81b6c",
        f"conversation_id={UUID}",
    ],
)
def test_a_sessions_id_goes_to_the_first_user_message(line: str) -> None:
    changed = SESSION_IDS.apply(conversation([Text(f"A\n{line}\nB")], [asked()])).conversation
    assert system_text(changed) == "A\nB"
    assert line.strip() in texts(changed.messages[1])[0]


@pytest.mark.parametrize(
    "text",
    [
        "- session_id: string",
        "session_id: the id that you got 12345678",
        f"The session_id: {UUID}",
        "<env>\nPlatform: linux\n",
        "Read <env> first",
        "gitStatus: This is the git status of nobody",
        "gitStatus: clean\nRecent commits:\n",
        "Current working directory: the one of the user",
        "Current working directory: /home. Never leave it.",
        "```\n<env>\nPlatform: linux\n</env>\n```",
    ],
)
def test_text_that_only_looks_like_it_stays(text: str) -> None:
    given = conversation([Text(text)], [asked()])
    for rule in (ENVIRONMENT, GIT_STATUS, SESSION_IDS):
        assert rule.apply(given).conversation is given
