from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.room import BACKGROUND_SHARE, PREFILL_STEPS, Capacity, Lack, Occupancy, find_lack
from appliance.router.router import WorkerStatus

CAPACITY = Capacity(seats=8, step_tokens=512, kv_blocks=100)
BLOCK_TOKENS = 32
FULL_PREFILL = PREFILL_STEPS * 512 // BLOCK_TOKENS


def lack(
    running: int = 1,
    prefill: int = 0,
    context: int = 10,
    *,
    usage: float | None = None,
    unread: int = 0,
    answers: int = 0,
    needs: int = 1,
    is_background: bool = False,
    capacity: Capacity = CAPACITY,
) -> Lack | None:
    occupancy = Occupancy(WorkerStatus(0, True, running, prefill, context), usage, unread, answers)
    return find_lack(occupancy, capacity, block_tokens=BLOCK_TOKENS, needs_blocks=needs, is_background=is_background)


def test_there_is_room_while_fewer_run_than_there_are_seats() -> None:
    assert (lack(running=7), lack(running=8)) == (None, Lack.SEATS)


def test_there_is_room_while_the_engine_has_less_to_read_than_its_next_steps_take() -> None:
    assert (lack(prefill=FULL_PREFILL - 1), lack(prefill=FULL_PREFILL)) == (None, Lack.PREFILL)


def test_there_is_room_while_the_blocks_fit() -> None:
    assert (lack(context=90, needs=10), lack(context=90, needs=11)) == (None, Lack.MEMORY)
    assert (lack(context=80, needs=10, answers=10), lack(context=80, needs=10, answers=11)) == (None, Lack.MEMORY)


def test_prompts_that_share_their_blocks_are_not_counted_twice_once_the_engine_has_told() -> None:
    assert lack(context=500, usage=0.3, unread=20, needs=50) is None
    assert lack(context=500, usage=0.3, unread=21, needs=50) is Lack.MEMORY


def test_an_engine_that_still_tells_of_requests_which_have_ended_is_not_believed() -> None:
    assert lack(context=10, usage=1.0, needs=90) is None


def test_memory_that_is_not_known_is_no_obstacle() -> None:
    assert lack(context=10**6, capacity=Capacity(8, 512, None)) is None


def test_background_work_finds_a_share_only() -> None:
    seats, prefill = int(8 * BACKGROUND_SHARE), int(FULL_PREFILL * BACKGROUND_SHARE)
    assert (lack(seats - 1, is_background=True), lack(seats, is_background=True)) == (None, Lack.SEATS)
    assert lack(prefill=prefill - 1, is_background=True) is None
    assert lack(prefill=prefill, is_background=True) is Lack.PREFILL


@given(st.integers(0, 10**6), st.booleans(), st.floats(0, 1) | st.none())
def test_an_empty_worker_has_room_for_whatever_comes(needs: int, is_background: bool, usage: float | None) -> None:
    assert lack(0, 0, 0, usage=usage, needs=needs, is_background=is_background) is None


@given(st.integers(1, 20), st.integers(0, 80), st.integers(0, 200), st.integers(0, 120))
def test_where_background_work_has_room_ordinary_work_has_too(
    running: int, prefill: int, context: int, needs: int
) -> None:
    if lack(running, prefill, context, needs=needs, is_background=True) is None:
        assert lack(running, prefill, context, needs=needs) is None


@pytest.mark.parametrize("seats", [1, 2])
def test_an_engine_with_few_seats_still_takes_background_work_when_it_is_empty(seats: int) -> None:
    assert lack(0, 0, 0, is_background=True, capacity=Capacity(seats, 512, 100)) is None
