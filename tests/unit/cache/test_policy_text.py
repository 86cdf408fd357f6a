from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import InvalidPolicy
from appliance.cache.eviction_facts import Order
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy, read_policy, shipped_policies
from appliance.cache.policy_text import policy_toml
from appliance.cache.region import Region
from appliance.cache.rule import HINTS, Bounds, Condition, Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import Tier
from appliance.conversation import Hints


def some(kind: type[Region | SessionState | SessionRole]) -> st.SearchStrategy[frozenset[object]]:
    return st.frozensets(st.sampled_from([*kind]), min_size=1)


LIMITS = st.integers(-3, 3)
BOUNDS = st.one_of(
    st.builds(Bounds, LIMITS, st.none()),
    st.builds(Bounds, st.none(), LIMITS),
    st.tuples(LIMITS, LIMITS).map(lambda pair: Bounds(*sorted(pair))),
)
CONDITIONS = st.builds(
    Condition,
    some(Region),
    some(SessionState),
    some(SessionRole),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, "claude*", 'quo"ted\\', "é?\x7f"]),
    st.sampled_from([None, "*qwen*"]),
    st.dictionaries(st.sampled_from(HINTS), BOUNDS, max_size=2).map(
        lambda hints: tuple((name, hints[name]) for name in HINTS if name in hints)
    ),
)
RULES = st.builds(
    Rule,
    CONDITIONS,
    st.integers(0, 100),
    st.sampled_from([None, 0.0, 0.5, 90.0, 1234.567]),
    st.integers(1, 15).map(Tier),
    st.booleans(),
)


def given_by(policy: Policy, region: Region, context: SessionContext) -> tuple[object, ...] | None:
    rule = policy.match(region, context)
    return None if rule is None else (rule.priority, rule.duration_seconds, rule.tiers, rule.caps_rest)


@given(st.lists(RULES, min_size=1, max_size=4), st.sampled_from(Order), st.sampled_from(["", 'my "own"']))
def test_a_policy_read_from_its_text_gives_the_same(rules: list[Rule], order: Order, description: str) -> None:
    policy = Policy("mine", tuple(rules), description, order)
    again = read_policy(policy_toml(policy), "mine")
    assert (again.name, again.order, again.description) == ("mine", order, description)
    flags = (None, True, False)
    for region, state, role, shared in product(Region, SessionState, SessionRole, flags):
        for client, hints in ((None, Hints()), ("claude-cli", Hints(priority=2, output_tokens=-1))):
            context = SessionContext(state, role, client, "Qwen3", keeps_thinking=shared, shared=shared, hints=hints)
            assert given_by(again, region, context) == given_by(policy, region, context)


@pytest.mark.parametrize("name", shipped_policies())
def test_the_text_of_a_shipped_policy_is_that_of_what_it_gives(name: str) -> None:
    policy = load_policy(name)
    text = policy_toml(policy)
    assert policy_toml(read_policy(text, name)) == text


def test_what_an_included_rule_no_longer_decides_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[[rule]]\nregion = "user"\npriority = 1\n\n[[rule]]\npriority = 2')
    (tmp_path / "mine.toml").write_text('include = "base.toml"\n[[rule]]\nregion = ["user", "image"]\npriority = 9')
    text = policy_toml(load_policy(str(tmp_path / "mine.toml")))
    assert (
        text == 'order = "forecast"\n\n[[rule]]\nregion = ["user", "image"]\npriority = 9\n\n[[rule]]\npriority = 2\n'
    )


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
