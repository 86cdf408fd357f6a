"""What the shipped policies promise, in the words of `docs/design/retention.md`."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.rule import Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.conversation import Hints

OPENING = (Region.SYSTEM, Region.TOOLS)
SPOKEN = (Region.USER, Region.TOOL_RESULT, Region.ASSISTANT, Region.TOOL_CALL, Region.IMAGE)
CODING_AGENT = load_policy("coding-agent")


def decide(
    policy: Policy,
    region: Region,
    state: SessionState,
    role: SessionRole = SessionRole.LEAD,
    **known: Any,
) -> Rule:
    rule = policy.match(region, SessionContext(state, role, **known))
    assert rule is not None
    return rule


@pytest.mark.parametrize("name", ["coding-agent", "chat"])
def test_system_and_tools_that_sessions_share_go_last(name: str) -> None:
    policy = load_policy(name)
    highest = max(rule.priority for rule in policy.rules)
    for region, state in product(OPENING, SessionState):
        assert decide(policy, region, state, shared=True).priority == highest
    for region, state, role in product({*Region} - {*OPENING}, SessionState, SessionRole):
        assert decide(policy, region, state, role).priority < highest


@pytest.mark.parametrize("role", SessionRole)
@pytest.mark.parametrize("region", OPENING)
def test_system_and_tools_of_one_session_are_worth_what_its_conversation_is(region: Region, role: SessionRole) -> None:
    for state in SessionState:
        conversation = decide(CODING_AGENT, Region.USER, state, role)
        assert decide(CODING_AGENT, region, state, role, shared=False) == conversation


@pytest.mark.parametrize("region", SPOKEN)
def test_a_conversation_whose_tool_is_quick_keeps_its_place_for_twice_the_time_and_not_longer(region: Region) -> None:
    context = SessionContext(SessionState.TOOL_WAIT, hints=Hints(tool_wait_seconds=4.0))
    plan = make_plan(RegionMap([Span(0, 9, region)]), CODING_AGENT, context)
    assert (plan.at(0).priority, plan.at(0).duration_seconds) == (60, 8.0)
    assert decide(CODING_AGENT, region, SessionState.IDLE).priority == 35


@pytest.mark.parametrize("hints", [Hints(), Hints(tool_wait_seconds=5.1)])
def test_of_other_tools_the_forecast_decides(hints: Hints) -> None:
    for role in SessionRole:
        rule = decide(CODING_AGENT, Region.USER, SessionState.TOOL_WAIT, role, hints=hints)
        assert (rule.priority, rule.duration_seconds) == (35, None)


@pytest.mark.parametrize("region", [*OPENING, *SPOKEN])
def test_a_subagent_that_ends_is_worth_less_than_its_lead_before_anybody_says_why_it_ended(region: Region) -> None:
    lead = decide(CODING_AGENT, region, SessionState.IDLE, shared=False)
    child = decide(CODING_AGENT, region, SessionState.RUNNING, SessionRole.SUBAGENT, shared=False)
    assert child.priority < lead.priority


@pytest.mark.parametrize("region", SPOKEN)
def test_an_idle_conversation_stays_on_host_and_disk(region: Region) -> None:
    assert Tier.HOST | Tier.DISK in decide(CODING_AGENT, region, SessionState.IDLE).tiers


@pytest.mark.parametrize("state", [state for state in SessionState if state is not SessionState.FINISHED])
def test_thoughts_and_what_is_generated_go_first(state: SessionState) -> None:
    first = [decide(CODING_AGENT, region, state).priority for region in (Region.THINKING, Region.OUTPUT)]
    assert max(first) < min(decide(CODING_AGENT, region, state).priority for region in SPOKEN)


@pytest.mark.parametrize("name", ["coding-agent", "chat"])
@pytest.mark.parametrize(("keeps", "tiers"), [(True, ALL_TIERS), (False, Tier.GPU), (None, Tier.GPU)])
def test_thoughts_are_offloaded_only_if_the_template_keeps_them(name: str, keeps: bool | None, tiers: Tier) -> None:
    for state in {*SessionState} - {SessionState.FINISHED}:
        assert decide(load_policy(name), Region.THINKING, state, keeps_thinking=keeps).tiers == tiers


def test_thoughts_that_the_next_question_drops_take_what_is_behind_with_them() -> None:
    regions = RegionMap([Span(0, 9, Region.USER), Span(9, 12, Region.THINKING), Span(12, 20, Region.TOOL_RESULT)])
    waits, idles = (
        make_plan(regions, CODING_AGENT, SessionContext(state, keeps_thinking=False))
        for state in (SessionState.TOOL_WAIT, SessionState.IDLE)
    )
    assert [waits.at(token).priority for token in (0, 9, 12)] == [35, 35, 35]
    assert [idles.at(token).priority for token in (0, 9, 12)] == [35, 10, 10]
    assert [idles.at(token).tiers for token in (0, 9, 12)] == [ALL_TIERS, Tier.GPU, Tier.GPU]


@pytest.mark.parametrize("name", ["coding-agent", "chat"])
def test_a_finished_session_is_worth_nothing(name: str) -> None:
    regions = {*Region} - {*OPENING} if name == "chat" else Region
    for region, role in product(regions, SessionRole):
        rule = decide(load_policy(name), region, SessionState.FINISHED, role, shared=False)
        assert (rule.priority, rule.tiers) == (0, Tier.GPU)


@pytest.mark.parametrize("hints", [Hints(), Hints(tool_wait_seconds=1.0)])
@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("region", [*OPENING, *SPOKEN])
def test_a_subagent_is_never_worth_more_than_its_lead(region: Region, state: SessionState, hints: Hints) -> None:
    for shared in (True, False):
        child = decide(CODING_AGENT, region, state, SessionRole.SUBAGENT, shared=shared, hints=hints)
        assert child.priority <= decide(CODING_AGENT, region, state, shared=shared, hints=hints).priority


def test_chat_keeps_an_idle_conversation_for_minutes() -> None:
    rule = decide(load_policy("chat"), Region.USER, SessionState.IDLE)
    assert rule.priority > 35
    assert rule.duration_seconds == 300


def test_under_lru_everything_is_worth_the_same() -> None:
    rules = {decide(load_policy("lru"), *what) for what in product(Region, SessionState, SessionRole)}
    (rule,) = rules
    assert (rule.priority, rule.duration_seconds, rule.tiers) == (35, None, ALL_TIERS)
