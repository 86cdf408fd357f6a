from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation import Block, Conversation, Message, Role, Text, Tool, ToolCall, ToolResult
from appliance.errors import SettingsError
from appliance.settings import StabiliserSettings, load_settings
from appliance.stabiliser.editing import REMINDER_END, REMINDER_START
from appliance.stabiliser.rule import EXCERPT_CHARACTERS, Rule, excerpt
from appliance.stabiliser.rules import RULES, select_rules
from appliance.stabiliser.stabiliser import BLOCK_CHARACTERS, MAX_PARTS, MAX_SYSTEM_CHARACTERS, Stabiliser
from appliance.stabiliser.transcript import transcript
from tests.unit.stabiliser.clients import MARK, asked, claude_code, conversation, next_step, opencode, pi

ALL = Stabiliser(RULES)

PIECES = st.sampled_from(
    [
        "Text.",
        "",
        "```",
        "x-anthropic-billing-header: cch=1;",
        "# Environment",
        "You have been invoked in the following environment:",
        " - Platform: linux",
        "Here is some useful information about the environment you are running in:",
        "<env>",
        "</env>",
        "Current working directory: /a",
        "gitStatus: This is the git status at the start",
        "Recent commits:",
        "2b0a853 Fix",
        "<git_status>",
        "</git_status>",
        "session_id: 12345678",
        "Today's date: 2026-11-24",
        "Current time: 10:23",
        REMINDER_START,
        REMINDER_END,
        "<total_tokens>5 tokens left</total_tokens>",
    ]
)
TEXTS = st.builds(Text, st.lists(PIECES, max_size=8).map("\n".join), st.sampled_from([None, MARK]))
RESULTS = st.builds(
    ToolResult, st.just("call_1"), st.lists(TEXTS, max_size=1).map(tuple), mark=st.sampled_from([None, MARK])
)
BLOCKS: st.SearchStrategy[Block] = TEXTS | RESULTS | st.just(ToolCall("call_1", "a", "{}"))
MESSAGES = st.builds(Message, st.sampled_from(list(Role)), st.lists(BLOCKS, max_size=3).map(tuple))
TOOLS = st.lists(st.builds(Tool, st.sampled_from(["a", "b", "mcp__a"]), mark=st.sampled_from([None, MARK])), max_size=3)
CONVERSATIONS = st.builds(Conversation, st.just("m"), st.lists(MESSAGES, max_size=5).map(tuple), tools=TOOLS.map(tuple))
RULE_SETS = st.lists(st.sampled_from(RULES), unique=True)


@given(CONVERSATIONS, RULE_SETS)
def test_what_is_stable_stays_as_it_is(given: Conversation, rules: list[Rule]) -> None:
    stabiliser = Stabiliser(select_rules({rule.name for rule in rules}))
    once = stabiliser.apply(given).conversation
    again = stabiliser.apply(once)
    assert again.conversation is once
    assert again.changes == ()


@given(CONVERSATIONS)
def test_a_conversation_changes_exactly_when_that_is_told(given: Conversation) -> None:
    changed, changes = ALL.apply(given)
    assert (changed is given) == (not changes)
    assert ALL.apply(given) == (changed, changes)
    assert all(change.characters > 0 and len(change.excerpt) <= EXCERPT_CHARACTERS for change in changes)


@given(CONVERSATIONS)
def test_moving_loses_no_line_and_makes_none_but_the_reminders_own(given: Conversation) -> None:
    moving = Stabiliser(select_rules({"environment", "git_status", "session_ids", "dates", "clock"}))
    assert words(moving.apply(given).conversation) == words(given)


def words(found: Conversation) -> Counter[str]:
    """All lines with something in them, but for the tags of reminders and the lines that name messages and blocks."""
    known = {REMINDER_START, REMINDER_END}
    return Counter(
        line.strip() for line in transcript(found) if line.strip() and line[0] != "[" and line.strip() not in known
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (claude_code(), claude_code(build="9f0", session="77777", branch="other")),
        (opencode(), opencode("/home/u/two", "Wed Nov 25 2026")),
        (pi(), pi("Current date: 2026-11-25", "/home/u/two")),
        (pi("Current date and time: 2026-11-24 10:23"), pi("Current date and time: 2026-11-24 11:07")),
    ],
)
def test_two_sessions_share_tools_and_system_text(one: Conversation, other: Conversation) -> None:
    assert one.messages[0] != other.messages[0]
    first, second = ALL.apply(one).conversation, ALL.apply(other).conversation
    assert first.messages[0] == second.messages[0]
    assert first.tools == second.tools


@pytest.mark.parametrize("before", [claude_code(), opencode(), pi()])
def test_the_next_turn_begins_with_this_one(before: Conversation) -> None:
    after = Conversation("m", next_step(before), tools=before.tools)
    first, second = ALL.apply(before).conversation.messages, ALL.apply(after).conversation.messages
    assert second[: len(first)] == first


def test_every_rule_has_a_switch_of_its_name() -> None:
    names = [rule.name for rule in RULES]
    assert list(StabiliserSettings.model_fields) == ["enabled", *names]
    assert StabiliserSettings().rules == set(names)
    assert StabiliserSettings(dates=False).rules == set(names) - {"dates"}
    assert StabiliserSettings(enabled=False).rules == set()


def test_a_rule_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"stabiliser\.date: unknown key; did you mean stabiliser\.dates\?"):
        load_settings(options={"stabiliser.date": "false"}, environ={"HOME": "/nonexistent"})


def test_rules_act_in_their_own_order() -> None:
    assert [rule.name for rule in select_rules(["clock", "attribution"])] == ["attribution", "clock"]
    assert Stabiliser(()).apply(pi()) == (pi(), ())


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt(" a\n  b\t") == "a b"
    assert excerpt("word " * 1000) == ("word " * 16)[:79] + "…"


def test_a_long_history_costs_nothing() -> None:
    turns = [asked("word " * 1000), Message(Role.ASSISTANT, (Text("word " * 1000),))]
    long = conversation([Text("Rule: be kind to others.\n" * 1600)], turns * 50)
    began = time.perf_counter()
    for _ in range(10):
        ALL.apply(long)
    assert (time.perf_counter() - began) / 10 < 0.05


DATED = Text("Today's date: 2026-11-24\n")
QUESTION = Message(Role.USER, (Text("Fix the bug"),))


@pytest.mark.parametrize(
    "beyond",
    [
        conversation([DATED, Text("x" * MAX_SYSTEM_CHARACTERS)], [QUESTION]),
        conversation([DATED, *[Text("x")] * (MAX_SYSTEM_CHARACTERS // BLOCK_CHARACTERS)], [QUESTION]),
        conversation([DATED], [QUESTION] * MAX_PARTS),
    ],
)
def test_what_no_agent_sends_is_left_as_it_is(beyond: Conversation) -> None:
    assert ALL.apply(beyond) == (beyond, ())
