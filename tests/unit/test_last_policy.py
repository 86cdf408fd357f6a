"""Which policy a box starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cache.errors import InvalidPolicy
from appliance.cache.policy_source import load_policy
from appliance.cache.policy_text import policy_text
from appliance.last_policy import SETTINGS, start_policy
from appliance.records import PolicyRecord

AT = 1000.0


def applied(name: str = "chat", text: str | None = None) -> PolicyRecord:
    return PolicyRecord(500.0, name, policy_text(load_policy(name)) if text is None else text, "operator")


def first(setting: str = "coding-agent") -> PolicyRecord:
    record = start_policy(setting, [], AT).record
    assert record is not None
    return record


def test_the_first_start_goes_by_the_settings_and_is_remembered() -> None:
    started = start_policy("coding-agent", [], AT)
    assert started.policy == load_policy("coding-agent")
    assert started.word is None
    record = first()
    assert (record.name, record.author, record.note) == ("coding-agent", SETTINGS, "coding-agent")


def test_the_same_settings_again_make_no_new_version() -> None:
    assert start_policy("coding-agent", [first()], AT) == (load_policy("coding-agent"), None, None)


def test_what_was_applied_stays_and_the_start_says_so() -> None:
    started = start_policy("coding-agent", [applied("chat"), first()], AT)
    assert started.policy == load_policy("chat")
    assert started.record is None
    assert started.word is not None
    assert "chat" in started.word
    assert "policy apply coding-agent" in started.word


def test_settings_that_were_changed_win_over_what_was_applied() -> None:
    started = start_policy("lru", [applied("chat"), first("coding-agent")], AT)
    assert started.policy == load_policy("lru")
    assert started.record is not None
    assert started.record.note == "lru"
    history = [started.record, applied("chat"), first("coding-agent")]
    assert start_policy("lru", history, AT) == (load_policy("lru"), None, None)


def test_a_file_that_was_edited_is_a_new_version(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[[rule]]\npriority = 1\n")
    before = first(str(file))
    file.write_text("[[rule]]\npriority = 2\n")
    started = start_policy(str(file), [before], AT)
    assert started.record is not None
    assert "priority = 2" in started.record.text
    assert start_policy(str(file), [applied("chat"), before], AT).policy == load_policy("chat")


def test_a_policy_comes_back_from_its_text_when_its_file_is_gone() -> None:
    started = start_policy("coding-agent", [applied("mine", "[[rule]]\npriority = 7\n"), first()], AT)
    assert [rule.priority for rule in started.policy.rules] == [7]


def test_a_text_that_cannot_be_read_gives_way_to_the_settings() -> None:
    started = start_policy("coding-agent", [applied("mine", "[[rule"), first()], AT)
    assert started.policy == load_policy("coding-agent")
    assert started.record is not None
    assert started.word is not None
    assert "cannot be read" in started.word


def test_settings_that_are_wrong_are_still_refused() -> None:
    with pytest.raises(InvalidPolicy, match="no policy of this name"):
        start_policy("cat", [applied()], AT)
