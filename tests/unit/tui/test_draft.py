"""Rules changed in a policy's text: only their own lines change, and the text says what was asked for."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.tui.models.draft import draft_rules, from_toml, label_of, moved, toml, with_rule, without_rule, written
from tests.examples import examples

TEXT = """\
description = "ours"  # not theirs
include = ["chat"]

# what all read
[[rule]]
region = [
    "system",  # and
    "tools",
]
priority = 90  # "#" of 100

duration = "5min"

# lead.toml:12
[[rule]]
hints.priority = { min = 1 }
hints.tool_wait_ms = { max = 9 }
priority = 50
# the last
[[rule]]
priority = 35
[rule.hints.output_tokens]
max = 3
# the end
"""


def rules(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(text)["rule"]
    return found


def test_rules_are_found_with_the_comments_that_lead_them() -> None:
    found = draft_rules(TEXT)
    lines = TEXT.split("\n")
    assert [lines[one.first] for one in found] == ["[[rule]]"] * 3
    assert [label_of(TEXT, one) for one in found] == ["what all read", "lead.toml:12", "the last"]
    assert [lines[one.end - 1] for one in found] == ['duration = "5min"', "priority = 50", "max = 3"]
    assert [one.values for one in found] == rules(TEXT)


def test_a_changed_key_leaves_every_other_line_and_its_own_comment() -> None:
    text = written(TEXT, 0, {"priority": 80})
    assert text == TEXT.replace("priority = 90  #", "priority = 80  #")
    text = written(TEXT, 0, {"region": "user", "duration": None, "state": ["idle"]})
    assert rules(text)[0] == {"region": "user", "priority": 90, "state": ["idle"]}
    assert rules(text)[1:] == rules(TEXT)[1:]
    assert '# "#"' not in text.replace('# "#" of 100', "")
    assert "# lead.toml:12" in text


def test_ranges_are_changed_as_one_whichever_way_they_were_written() -> None:
    for place in (1, 2):
        text = written(TEXT, place, {"hints": {"strict_priority": {"min": 2}}, "state": "idle"})
        changed = rules(TEXT)
        changed[place] |= {"hints": {"strict_priority": {"min": 2}}, "state": "idle"}
        assert rules(text) == changed
        assert "hints" not in rules(written(TEXT, place, {"hints": None}))[place]


def test_a_rule_is_added_removed_and_moved_with_its_comments() -> None:
    first, second, third = rules(TEXT)
    added = with_rule(TEXT, 0, {"region": "image", "priority": 5})
    assert rules(added) == [first, {"region": "image", "priority": 5}, second, third]
    assert rules(with_rule('description = "x"\n', None, {"priority": 5})) == [{"priority": 5}]
    gone = without_rule(TEXT, 1)
    assert rules(gone) == [first, third]
    assert "lead.toml:12" not in gone
    assert "# the last" in gone
    assert rules(moved(TEXT, 1, -1)) == [second, first, third]
    assert rules(moved(TEXT, 1, 1)) == [first, third, second]
    assert moved(moved(TEXT, 0, 1), 1, -1) == TEXT
    assert (moved(TEXT, 0, -1), moved(TEXT, 2, 1)) == (TEXT, TEXT)


values = st.fixed_dictionaries(
    {"priority": st.integers(0, 100)},
    optional={
        "client": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
        "region": st.lists(st.sampled_from(["system", "tools"]), min_size=1, max_size=3),
        "shared": st.booleans(),
        "hints": st.fixed_dictionaries({"priority": st.fixed_dictionaries({"min": st.integers(0, 9)})}),
    },
)
steps = st.tuples(st.sampled_from(["write", "add", "remove", "move"]), st.integers(0, 9), values)


@given(st.lists(steps, max_size=6))
@settings(max_examples=examples(60))
def test_any_steps_do_to_the_text_what_they_would_do_to_a_list(found: list[tuple[str, int, dict[str, Any]]]) -> None:
    text, expected = TEXT, rules(TEXT)
    for verb, number, given_values in found:
        place = number % len(expected)
        match verb:
            case "write":
                text = written(text, place, given_values)
                expected[place] |= given_values
            case "add":
                text = with_rule(text, place, given_values)
                expected.insert(place + 1, given_values)
            case "remove" if len(expected) > 1:
                text = without_rule(text, place)
                del expected[place]
            case "move" if place + 1 < len(expected):
                text = moved(text, place, 1)
                expected[place], expected[place + 1] = expected[place + 1], expected[place]
        assert rules(text) == expected
    assert 'description = "ours"  # not theirs' in text


def test_a_text_whose_rules_are_written_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="not written as"):
        draft_rules("rule = [{ priority = 5 }]")


def test_values_are_read_as_they_are_written() -> None:
    for value in ("a\x7f", ["x"], {"a": {"min": 1}}, True, 5):
        assert from_toml(toml(value)) == value
