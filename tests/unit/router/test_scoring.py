from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.load import LEAST_LEFT_TOKENS
from appliance.router.pace import LearnedPace
from appliance.router.scoring import (
    AFFINITY_TOKENS,
    CROWDING_WEIGHT,
    DECODE_CONTEXT_TOKENS,
    IDLE_WORTH,
    Cost,
    Room,
    expected_cost,
    least_loaded,
)
from tests.unit.router.prospects import BLOCK_SECONDS, BLOCK_TOKENS, PACE, prospect, total

counts = st.integers(0, 1000)


def decode_of(requests: int, prompt: int) -> float:
    """What so many answers of the usual length have left, in tokens of prefill, as `Ticket.decode_work` counts."""
    return requests * LEAST_LEFT_TOKENS * (prompt * BLOCK_TOKENS + LEAST_LEFT_TOKENS / 2) / DECODE_CONTEXT_TOKENS


def test_each_part_of_the_cost_is_in_seconds() -> None:
    cost = expected_cost(prospect(100, overlap=40, pending=10, prefill=7, decode=80.0, is_last=True))
    parts = Cost(
        prefill_seconds=50 * BLOCK_SECONDS,
        queue_seconds=7 * BLOCK_SECONDS,
        decode_seconds=0.08,
        crowding_seconds=CROWDING_WEIGHT * 50 * BLOCK_SECONDS,
        affinity_seconds=AFFINITY_TOKENS * 0.001,
    )
    assert list(cost) == pytest.approx(list(parts))
    assert cost.total_seconds == pytest.approx((57 + CROWDING_WEIGHT * 50) * BLOCK_SECONDS + 0.08 - 0.064)
    assert cost.wait_seconds == pytest.approx(57 * BLOCK_SECONDS)


@given(st.integers(200, 10_000))
def test_a_shared_prefix_holds_seven_like_requests_and_not_nine_at_any_length(prompt: int) -> None:
    idle = total(prospect(prompt))
    assert total(prospect(prompt, overlap=prompt, decode=decode_of(7, prompt))) < idle
    assert total(prospect(prompt, overlap=prompt, decode=decode_of(9, prompt))) > idle


@given(st.integers(1, 10_000))
def test_waiting_for_a_prefix_beats_computing_it_again(prompt: int) -> None:
    assert total(prospect(prompt, pending=prompt, prefill=prompt)) < total(prospect(prompt))


@given(counts, counts, counts, counts)
def test_pending_overlap_counts_like_held_overlap(prompt: int, overlap: int, pending: int, prefill: int) -> None:
    mixed = prospect(prompt, overlap=overlap, pending=pending, prefill=prefill)
    held = prospect(prompt, overlap=overlap + pending, prefill=prefill)
    assert expected_cost(mixed) == expected_cost(held)


def test_blocks_in_lower_tiers_cost_what_reading_each_takes() -> None:
    cost = expected_cost(prospect(100, overlap=10, lower=(30, 30, 60)))
    assert cost.load_seconds == pytest.approx(BLOCK_TOKENS * (20 * 0.0001 + 30 * 0.0005))
    assert cost.prefill_seconds == pytest.approx(40 * BLOCK_SECONDS)


def test_a_lower_tier_saves_nothing_that_is_pending_on_the_gpu() -> None:
    assert expected_cost(prospect(100, overlap=10, pending=40, lower=(30,))).load_seconds == 0
    assert expected_cost(prospect(100, overlap=10, pending=40, lower=(60,))).load_seconds == pytest.approx(
        10 * BLOCK_TOKENS * 0.0001
    )


@given(st.integers(1, 1000), st.data())
def test_a_tier_that_nothing_was_read_from_waits_as_long_as_computing(prompt: int, data: st.DataObject) -> None:
    depth = data.draw(st.integers(0, prompt))
    unknown = LearnedPace().pace
    tiered = expected_cost(prospect(prompt, lower=(depth,), pace=unknown))
    computed = expected_cost(prospect(prompt, pace=unknown))
    assert tiered.wait_seconds == pytest.approx(computed.wait_seconds)


def test_what_fits_beside_the_cache_displaces_nothing() -> None:
    cost = expected_cost(prospect(100, overlap=40, prefill=20, answer=10, room=Room(90, 500, 500)))
    assert cost.displacement_seconds == 0


def test_the_unclaimed_go_first_and_the_least_worth_of_them_before_the_rest() -> None:
    half = expected_cost(prospect(100, room=Room(0, 200, 500))).displacement_seconds
    all_of_it = expected_cost(prospect(200, room=Room(0, 200, 500))).displacement_seconds
    assert all_of_it == pytest.approx(200 * IDLE_WORTH * BLOCK_SECONDS)
    assert half == pytest.approx(all_of_it / 4)


def test_a_claimed_block_is_worth_all_of_itself() -> None:
    with_claimed = expected_cost(prospect(300, room=Room(0, 200, 500))).displacement_seconds
    assert with_claimed == pytest.approx((200 * IDLE_WORTH + 100) * BLOCK_SECONDS)


def test_a_prompt_pays_for_its_own_part_of_what_the_queue_displaces() -> None:
    alone = expected_cost(prospect(100, room=Room(0, 0, 500))).displacement_seconds
    behind = expected_cost(prospect(100, prefill=300, room=Room(0, 0, 500))).displacement_seconds
    assert behind == pytest.approx(alone)


@given(counts, counts, counts, counts, counts, counts)
def test_displacement_is_never_negative_and_never_more_than_all_that_comes_new(
    prompt: int, overlap: int, prefill: int, free: int, unclaimed: int, claimed: int
) -> None:
    one = prospect(prompt, overlap=min(overlap, prompt), prefill=prefill, room=Room(free, unclaimed, claimed))
    displaced = expected_cost(one).displacement_seconds
    assert 0 <= displaced <= (prompt - min(overlap, prompt)) * BLOCK_SECONDS + 1e-9


def test_the_last_worker_wins_a_tie_and_loses_against_a_short_queue() -> None:
    assert total(prospect(100, is_last=True)) < total(prospect(100))
    assert total(prospect(100, is_last=True, prefill=5)) > total(prospect(100))


def test_the_least_loaded_is_found_without_regard_to_the_cache() -> None:
    assert total(prospect(100, overlap=100, prefill=1), least_loaded) > total(prospect(100), least_loaded)
    assert total(prospect(100, decode=2.0), least_loaded) == pytest.approx(2 * PACE.seconds_per_token)
