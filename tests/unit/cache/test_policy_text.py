"""A policy as text, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import InvalidPolicy
from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy, parse_policy, shipped_policies
from appliance.cache.policy_text import policy_text
from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds, Condition, Rule
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import ALL_TIERS, Tier


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
