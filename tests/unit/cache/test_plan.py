from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import IntegrityError
from appliance.cache.plan import MAX_DURATION_MS, Directive, RetentionPlan
from appliance.cache.planner import make_plan
from appliance.cache.policy import Policy
from appliance.cache.region_map import RegionMap
from appliance.cache.session_context import SessionContext
from appliance.cache.tier import ALL_TIERS, Tier
from tests.unit.cache import planner_twin
from tests.unit.cache.retention_strategies import Mark, contexts, marks, policies, region_maps, unhurried


def plan_of(*directives: tuple[int, int | None, int, float | None]) -> RetentionPlan:
    return RetentionPlan(tuple(Directive(*one, ALL_TIERS, "test") for one in directives))


@unhurried
@given(region_maps(), policies, contexts(), marks, st.integers(1, 9), st.integers(0, 6), st.integers(0, 8))
def test_a_block_gets_the_most_that_any_of_its_tokens_gets(
    regions: RegionMap,
    policy: Policy,
    context: SessionContext,
    marked: list[Mark],
    block_tokens: int,
    start: int,
    length: int,
) -> None:
    plan = make_plan(regions, policy, context, marks=marked)
    blocks = plan.for_blocks(block_tokens, start, start + length)
    for place, block in enumerate(range(start, start + length)):
        tokens = [plan.at(token) for token in range(block * block_tokens, (block + 1) * block_tokens)]
        asked = planner_twin.most([planner_twin.worth_of(one) for one in tokens])
        assert blocks.priority[place] == asked[0]
        assert planner_twin.worth(asked[0], blocks.duration_seconds[place])[1] == asked[1]
        assert all(Tier(int(blocks.tiers[place])) & one.tiers == one.tiers for one in tokens)
        assert plan.directives[blocks.directive[place]] == tokens[0]


def test_a_range_covers_every_block_that_it_touches() -> None:
    plan = plan_of((0, 17, 90, None), (17, 64, 35, None), (64, None, 10, None))
    assert plan.for_blocks(16).priority.tolist() == [90, 90, 35, 35]
    assert plan.for_blocks(16, 3, 6).priority.tolist() == [35, 10, 10]


def test_the_last_block_of_a_prompt_may_be_part_output() -> None:
    plan = plan_of((0, 17, 90, None), (17, None, 10, None))
    assert plan.for_blocks(16).priority.tolist() == [90, 90]
    assert plan_of((0, None, 10, None)).for_blocks(16).priority.tolist() == []


def test_milliseconds_are_whole_at_least_one_and_0_without_an_end() -> None:
    plan = plan_of((0, 1, 99, None), (1, 2, 98, 1e12), (2, 3, 97, 1.0004), (3, 4, 96, 0.0), (4, None, 35, None))
    assert plan.for_blocks(1, 0, 5).duration_ms.tolist() == [0, MAX_DURATION_MS, 1001, 1, 0]


def test_in_a_tier_that_is_not_allowed_a_block_is_worth_nothing() -> None:
    plan = RetentionPlan(
        (Directive(0, 16, 60, 30.0, ALL_TIERS, "a"), Directive(16, None, 60, 30.0, Tier.GPU | Tier.HOST, "b"))
    )
    blocks = plan.for_blocks(16, 0, 2)
    assert blocks.in_tier(Tier.HOST).priority.tolist() == [60, 60]
    assert blocks.in_tier(Tier.DISK).priority.tolist() == [60, 0]
    assert blocks.in_tier(Tier.DISK).duration_ms.tolist() == [30_000, 0]


def test_decode_values_are_those_of_the_last_directive() -> None:
    plan = plan_of((0, 8, 60, 30.0), (8, None, 40, 5.0))
    assert (plan.tokens, plan.decode_retention_priority, plan.decode_duration_seconds) == (8, 40, 5.0)


@pytest.mark.parametrize(
    ("directives", "said"),
    [
        ([], "must end with a directive for what is generated"),
        ([(0, 8, 60, None)], "must end with a directive for what is generated"),
        ([(1, None, 60, None)], "leaves a gap before it: it must start at 0"),
        ([(0, 8, 60, None), (7, None, 60, None)], "overlaps the one before it: it must start at 8"),
        ([(0, 8, 60, None), (8, 7, 60, None), (7, None, 1, None)], "reversed or empty"),
        ([(0, None, 60, None), (8, None, 60, None)], "must be the last"),
        ([(0, 8, 60, None), (8, None, 61, None)], "has priority 61, above what is before it; the nearest is 60"),
        ([(0, 8, 60, 5.0), (8, None, 50, None)], "lasts longer than what is before it"),
        ([(0, None, 101, None)], "has priority 101, not 0 to 100; the nearest is 100"),
        ([(0, None, 50, -1.0)], "has a duration of -1.0 seconds"),
    ],
)
def test_what_no_plan_may_hold_is_found(directives: list[tuple[int, int | None, int, float | None]], said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        plan_of(*directives).check_integrity()


def test_tiers_may_not_grow_along_a_prompt() -> None:
    plan = RetentionPlan((Directive(0, 8, 60, None, Tier.GPU, "a"), Directive(8, None, 60, None, ALL_TIERS, "b")))
    with pytest.raises(IntegrityError, match="tier"):
        plan.check_integrity()


def test_what_is_worth_no_more_than_the_default_asks_for_no_time() -> None:
    plan_of((0, 8, 60, 5.0), (8, None, 35, None)).check_integrity()
