from __future__ import annotations

import pytest

from appliance.stabiliser.diagnosis import rule_of_change, rule_of_tools

GIT = "gitStatus: This is the git status at the start\nM {}\n\nRecent commits:\nabcdef1 one\n"


@pytest.mark.parametrize(
    ("text", "one", "other", "rule"),
    [
        ("x-anthropic-billing-header: cc_version=2.1; cch={};\nYou are", "1a", "2b", "attribution"),
        ("Be good.\nToday's date: 2026-01-0{}\nDo it.", "1", "2", "dates"),
        ("Be good.\nCurrent time: 10:0{} UTC\nDo it.", "1", "2", "clock"),
        ("Be good.\nSession ID: abc-1234{}\nDo it.", "1", "2", "session_ids"),
        ("Be good.\nCurrent working directory: /work/{}\nDo it.", "a", "b", "environment"),
        (f"Be good.\n{GIT}Do it.", "a.py", "b.py", "git_status"),
        ("<total_tokens>{} tokens left</total_tokens>", "10,000", "9,000", "token_countdown"),
        ("You are a {} assistant.\nToday's date: 2026-01-01", "good", "bad", None),
        ("Today's date is {}, so be quick about it.", "Monday", "Tuesday", None),
    ],
)
def test_the_rule_that_is_for_a_change_is_found(text: str, one: str, other: str, rule: str | None) -> None:
    assert rule_of_change(text.format(one), text.format(other)) == rule


def test_text_that_is_there_in_one_of_two_only_is_found_too() -> None:
    assert rule_of_change("Be good.\nDo it.", "Be good.\nToday's date: 2026-01-01\nDo it.") == "dates"


def test_the_same_tools_in_another_order_are_a_rule_of_their_own() -> None:
    assert rule_of_tools(("a", "b"), ("b", "a")) == "tool_order"
    assert rule_of_tools(("a", "b"), ("a", "b")) is None
    assert rule_of_tools(("a", "b"), ("b", "c")) is None
