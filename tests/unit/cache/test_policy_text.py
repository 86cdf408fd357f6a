"""A policy as text, and back."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import InvalidPolicy
from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy, parse_policy, read_policy, shipped_policies
from appliance.cache.policy_text import editable_text, policy_text
from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds, Condition, Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.conversation import Hints


def without_places(policy: Policy) -> Policy:
    return replace(policy, rules=tuple(replace(rule, file=Path(), line=1) for rule in policy.rules))


bounds = st.builds(Bounds, st.integers(0, 5), st.none() | st.integers(5, 9)) | st.builds(Bounds, st.none(), st.just(3))
patterns = st.none() | st.text(min_size=1, max_size=6)
conditions = st.builds(
    Condition,
    st.frozensets(st.sampled_from(Region), min_size=1),
    st.frozensets(st.sampled_from(SessionState), min_size=1),
    st.frozensets(st.sampled_from(SessionRole), min_size=1),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    patterns,
    patterns,
    st.dictionaries(st.sampled_from(HINTS), bounds).map(
        lambda found: tuple((name, found[name]) for name in HINTS if name in found)
    ),
)
rules = st.builds(
    Rule,
    conditions,
    st.integers(0, 100),
    st.none() | st.floats(0, 1e6).map(lambda seconds: round(seconds, 3)),
    st.integers(1, ALL_TIERS.value).map(Tier),
    st.booleans(),
    st.text(max_size=6).map(Path),
    st.integers(1, 9),
)
policies = st.builds(
    Policy, st.just("mine"), st.lists(rules, min_size=1, max_size=5).map(tuple), st.text(), st.sampled_from(Order)
)


@given(policies)
def test_a_policy_is_read_from_its_text_as_it_was(policy: Policy) -> None:
    assert without_places(parse_policy("mine", policy_text(policy))) == without_places(policy)


@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policy_is_read_from_its_text_as_it_was(name: str) -> None:
    policy = load_policy(name)
    text = policy_text(policy)
    assert without_places(parse_policy(name, text)) == without_places(policy)
    assert all(f"\n# {rule.label}\n[[rule]]\n" in text for rule in policy.rules)


def test_what_is_included_stands_in_the_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('include = "lru"\n[[rule]]\nregion = "system"\npriority = 50\n')
    policy = load_policy(str(file))
    assert "include" not in policy_text(policy)
    assert without_places(parse_policy("mine", policy_text(policy))) == without_places(policy)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[rule]", "mine.toml:1"),
        ('include = "lru"\n', "mine.toml:1: include: unknown key"),
        ("[[rule]]\npriority = 101\n", "mine.toml:2: priority = 101"),
        ("", "no rule"),
    ],
)
def test_a_text_that_is_wrong_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(InvalidPolicy) as refused:
        parse_policy("mine", text)
    assert told in str(refused.value)


def given_by(policy: Policy, region: Region, context: SessionContext) -> tuple[object, ...] | None:
    rule = policy.match(region, context)
    return None if rule is None else (rule.priority, rule.duration_seconds, rule.tiers, rule.caps_rest)


@given(policies)
def test_a_text_to_edit_is_accepted_and_gives_the_same(policy: Policy) -> None:
    again = read_policy(editable_text(policy), "mine")
    for region, state, role, flag in product(Region, SessionState, SessionRole, (None, True, False)):
        for client, hints in ((None, Hints()), ("claude-cli", Hints(priority=2, output_tokens=1))):
            context = SessionContext(state, role, client, "Qwen3", keeps_thinking=flag, shared=flag, hints=hints)
            assert given_by(again, region, context) == given_by(policy, region, context)


def test_what_an_included_rule_no_longer_decides_is_left_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[[rule]]\nregion = "user"\npriority = 1\n\n[[rule]]\npriority = 2')
    (tmp_path / "mine.toml").write_text('include = "base.toml"\n[[rule]]\nregion = ["user", "image"]\npriority = 9')
    policy = load_policy(str(tmp_path / "mine.toml"))
    assert [rule.priority for rule in parse_policy("m", policy_text(policy)).rules] == [9, 1, 2]
    assert [rule.priority for rule in read_policy(editable_text(policy), "m").rules] == [9, 2]


def test_a_text_may_include_shipped_policies() -> None:
    policy = read_policy('include = "chat"\n[[rule]]\nregion = "image"\npriority = 1', "mine")
    assert policy.rules[0].label == "mine.toml:2"
    assert len(policy.rules) == 1 + len(load_policy("chat").rules)


@pytest.mark.parametrize("path", ["other.toml", "/etc/hosts.toml", "../x.toml"])
def test_a_text_includes_no_other_files(path: str) -> None:
    with pytest.raises(InvalidPolicy, match=r"mine\.toml:1: include = .*: a text includes shipped policies only"):
        read_policy(f'include = "{path}"\n[[rule]]\npriority = 1', "mine")


def test_what_is_wrong_in_a_text_is_told_with_its_line() -> None:
    with pytest.raises(InvalidPolicy, match=r"mine\.toml:2: priority = 101"):
        read_policy("[[rule]]\npriority = 101", "mine")
    with pytest.raises(InvalidPolicy, match=r"mine\.toml:1: not valid TOML"):
        read_policy("[[rule]", "mine")
