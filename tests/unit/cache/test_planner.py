from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import InvalidRange
from appliance.cache.planner import HINT_SECONDS, MARK_PRIORITY, make_plan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.cache.rule import Condition, Rule
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionState
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.conversation import Hints, RetentionDirective
from tests.unit.cache import planner_twin
from tests.unit.cache.retention_strategies import Mark, contexts, directives, marks, policies, region_maps, unhurried

SYSTEM_THEN_USER = RegionMap([Span(0, 100, Region.SYSTEM), Span(100, 300, Region.USER)])
PLAIN = Policy("plain", ())


def one_rule(priority: int, duration_seconds: float | None = None) -> Policy:
    return Policy("one", (Rule(Condition(), priority, duration_seconds),))


def hinting(priority: int = 0, retention: tuple[RetentionDirective, ...] = ()) -> SessionContext:
    return SessionContext(hints=Hints(priority=priority, retention=retention))


def region_rules(**priorities: int) -> Policy:
    rules = (Rule(Condition(frozenset({Region(name)})), priority) for name, priority in priorities.items())
    return Policy("regions", tuple(rules))


@unhurried
@given(region_maps(), policies, contexts(), st.lists(directives(), max_size=2), marks)
def test_every_token_gets_what_the_twin_gives_it(
    regions: RegionMap, policy: Policy, context: SessionContext, pins: list[RetentionDirective], marked: list[Mark]
) -> None:
    plan = make_plan(regions, policy, context, pins=pins, marks=marked)
    plan.check_integrity()
    found = [plan.at(token) for token in range(regions.tokens + 1)]
    expected = planner_twin.plan_of(regions, policy, context, pins, marked)
    assert [(planner_twin.worth_of(one), one.tiers) for one in found] == expected


@unhurried
@given(region_maps(), policies, contexts(), st.lists(directives(), max_size=2), marks)
def test_a_plan_covers_the_prompt_and_what_is_generated_and_never_rises(
    regions: RegionMap, policy: Policy, context: SessionContext, pins: list[RetentionDirective], marked: list[Mark]
) -> None:
    plan = make_plan(regions, policy, context, pins=pins, marks=marked)
    assert plan.tokens == regions.tokens
    worths = [planner_twin.worth_of(plan.at(token)) for token in range(regions.tokens + 5)]
    for ahead, behind in pairwise(worths):
        assert ahead[0] >= behind[0]
        assert ahead[1] >= behind[1]


@unhurried
@given(region_maps(), policies, contexts(), marks, directives())
def test_an_explicit_directive_beats_policy_hint_and_mark(
    regions: RegionMap, policy: Policy, context: SessionContext, marked: list[Mark], wish: RetentionDirective
) -> None:
    context = replace(context, hints=replace(context.hints, retention=(wish,)))
    plan = make_plan(regions, policy, context, marks=marked)
    for token in range(wish.token_start, min(wish.token_end or regions.tokens, regions.tokens)):
        got = plan.at(token)
        assert planner_twin.worth_of(got) == planner_twin.worth(wish.priority, wish.duration_seconds)
        assert got.rule == "directive"


@unhurried
@given(region_maps(), policies, contexts(), directives())
def test_a_pin_beats_everything(
    regions: RegionMap, policy: Policy, context: SessionContext, pin: RetentionDirective
) -> None:
    plan = make_plan(regions, policy, context, pins=[pin])
    for token in range(pin.token_start, min(pin.token_end or regions.tokens, regions.tokens)):
        assert planner_twin.worth_of(plan.at(token)) == planner_twin.worth(pin.priority, pin.duration_seconds)
        assert plan.at(token).rule == "pin"


@unhurried
@given(region_maps(), policies, contexts(), st.builds(Mark, st.integers(0, 50), st.sampled_from([60.0, 3600.0])))
def test_a_mark_keeps_all_of_the_prefix_up_to_it(
    regions: RegionMap, policy: Policy, context: SessionContext, mark: Mark
) -> None:
    context = replace(context, hints=replace(context.hints, retention=()))
    plan, unmarked = make_plan(regions, policy, context, marks=[mark]), make_plan(regions, policy, context)
    for token in range(regions.tokens + 1):
        priority, seconds = planner_twin.worth_of(plan.at(token))
        if token < min(mark.tokens, regions.tokens):
            assert priority >= MARK_PRIORITY
            assert seconds >= mark.ttl_seconds
        else:
            assert plan.at(token)[2:5] == unmarked.at(token)[2:5]


def test_of_two_directives_the_earlier_wins() -> None:
    wishes = (RetentionDirective(0, 50, 90), RetentionDirective(0, 200, 60, 30.0))
    plan = make_plan(SYSTEM_THEN_USER, PLAIN, hinting(retention=wishes))
    assert [one[:4] for one in plan.directives] == [
        (0, 50, 90, None),
        (50, 200, 60, 30.0),
        (200, 300, 35, None),
        (300, None, 35, None),
    ]


def test_keeping_a_piece_keeps_what_is_ahead_of_it_for_as_long() -> None:
    plan = make_plan(
        SYSTEM_THEN_USER, one_rule(60, 30.0), hinting(retention=(RetentionDirective(100, 200, 90, 600.0),))
    )
    assert [one[:4] for one in plan.directives] == [
        (0, 100, 90, 600.0),
        (100, 200, 90, 600.0),
        (200, 300, 60, 30.0),
        (300, None, 60, 30.0),
    ]


def test_releasing_a_piece_releases_what_is_behind_it() -> None:
    plan = make_plan(SYSTEM_THEN_USER, one_rule(60), SessionContext(), pins=[RetentionDirective(100, 150, 0)])
    assert [one[:3] for one in plan.directives] == [(0, 100, 60), (100, 150, 0), (150, 300, 0), (300, None, 0)]


def test_a_thought_that_answers_hang_on_is_worth_what_they_are() -> None:
    regions = RegionMap([Span(0, 9, Region.USER), Span(9, 12, Region.THINKING), Span(12, 20, Region.TOOL_RESULT)])
    policy = region_rules(thinking=10, output=10)
    assert [one.priority for one in make_plan(regions, policy, SessionContext()).directives] == [35, 35, 35, 10]


def test_a_rule_that_caps_the_rest_holds_for_all_behind_it_and_nothing_before() -> None:
    regions = RegionMap([Span(0, 9, Region.USER), Span(9, 12, Region.THINKING), Span(12, 20, Region.TOOL_RESULT)])
    rule = Rule(Condition(frozenset({Region.THINKING})), 10, tiers=Tier.GPU, caps_rest=True)
    plan = make_plan(regions, Policy("caps", (rule,)), SessionContext())
    assert [(one.priority, one.tiers) for one in plan.directives] == [
        (35, ALL_TIERS), (10, Tier.GPU), (10, Tier.GPU), (10, Tier.GPU),
    ]  # fmt: skip


def test_neighbours_that_get_the_same_by_the_same_rule_are_one_directive() -> None:
    regions = RegionMap(Span(at, at + 1, Region.USER) for at in range(100))
    assert len(make_plan(regions, one_rule(50), SessionContext()).directives) == 2


@pytest.mark.parametrize(
    ("given_priority", "hint", "expected"),
    [
        (35, 5, (40, HINT_SECONDS)),
        (35, 1000, (MARK_PRIORITY, HINT_SECONDS)),
        (90, 1000, (90, 30.0)),
        (60, 5, (65, 30.0)),
        (60, -30, (30, None)),
        (60, -1000, (0, None)),
        (60, 0, (60, 30.0)),
    ],
)
def test_a_hint_moves_the_priority_but_never_above_a_mark(
    given_priority: int, hint: int, expected: tuple[int, float | None]
) -> None:
    plan = make_plan(SYSTEM_THEN_USER, one_rule(given_priority, 30.0), hinting(hint))
    assert plan.directives[0][2:4] == expected
    assert plan.directives[0].rule.endswith("+hint") == (hint != 0)


def test_without_a_rule_that_matches_everything_is_worth_the_default() -> None:
    (prompt, output) = make_plan(SYSTEM_THEN_USER, PLAIN, SessionContext()).directives
    assert prompt == (0, 300, 35, None, ALL_TIERS, "default")
    assert output == (300, None, 35, None, ALL_TIERS, "default")


def test_an_empty_prompt_has_a_plan_for_what_is_generated() -> None:
    plan = make_plan(
        RegionMap([]), one_rule(50), hinting(retention=(RetentionDirective(0, None, 90),)), marks=[Mark(3, 1)]
    )
    assert [one[:3] for one in plan.directives] == [(0, None, 50)]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (RetentionDirective(5, 3, 50), "tokens 5 to 3 is reversed or empty: its end must be above 5"),
        (RetentionDirective(5, 5, 50), "tokens 5 to 5 is reversed or empty"),
        (RetentionDirective(-1, 3, 50), "the first token is 0"),
        (RetentionDirective(0, None, 101), "priority 101 is not from 0 to 100; the nearest is 100"),
        (RetentionDirective(0, None, -1), "the nearest is 0"),
        (RetentionDirective(0, None, 50, -1.0), "a duration of -1.0 seconds; the nearest is 0"),
        (RetentionDirective(0, None, 50, float("nan")), "a duration of nan seconds"),
    ],
)
def test_an_impossible_wish_is_refused(wish: RetentionDirective, said: str) -> None:
    with pytest.raises(InvalidRange, match=said):
        make_plan(SYSTEM_THEN_USER, PLAIN, hinting(retention=(wish,)))


WAITS = frozenset({SessionState.TOOL_WAIT})


@pytest.mark.parametrize(
    ("said_seconds", "priority", "duration_seconds"),
    [(None, 60, 30.0), (0.0, 60, 0.0), (4.0, 60, 8.0), (15.0, 60, 30.0), (15.5, 35, None)],
)
def test_a_rule_for_a_tool_holds_twice_as_long_as_the_client_says_and_not_at_all_beyond_its_time(
    said_seconds: float | None, priority: int, duration_seconds: float | None
) -> None:
    policy = Policy("waits", (Rule(Condition(states=WAITS), 60, 30.0),))
    context = SessionContext(SessionState.TOOL_WAIT, hints=Hints(tool_wait_seconds=said_seconds))
    got = make_plan(SYSTEM_THEN_USER, policy, context).at(0)
    assert (got.priority, got.duration_seconds) == (priority, duration_seconds)
    assert got.rule.endswith("+hint") == (said_seconds is not None)


def test_a_rule_for_a_tool_without_an_end_ends_when_the_client_says_so() -> None:
    policy = Policy("waits", (Rule(Condition(states=WAITS), 60),))
    context = SessionContext(SessionState.TOOL_WAIT, hints=Hints(tool_wait_seconds=600.0))
    assert make_plan(SYSTEM_THEN_USER, policy, context).at(0).duration_seconds == 1200.0


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (Rule(Condition(), 60, 30.0), SessionState.TOOL_WAIT),
        (Rule(Condition(states=WAITS | {SessionState.IDLE}), 60, 30.0), SessionState.TOOL_WAIT),
        (Rule(Condition(states=WAITS), 20), SessionState.TOOL_WAIT),
        (Rule(Condition(states=frozenset({SessionState.IDLE})), 60, 30.0), SessionState.IDLE),
    ],
)
def test_other_rules_do_not_hear_what_the_client_says_of_its_tool(rule: Rule, state: SessionState) -> None:
    context = SessionContext(state, hints=Hints(tool_wait_seconds=4.0))
    got = make_plan(SYSTEM_THEN_USER, Policy("one", (rule,)), context).at(0)
    assert (got.priority, got.duration_seconds) == (rule.priority, rule.duration_seconds)
