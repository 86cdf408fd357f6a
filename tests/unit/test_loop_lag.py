from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.last_minute import BOUNDS_SECONDS, NUM_SLOTS, SLOT_SECONDS
from appliance.loop_lag import INTERVAL_SECONDS, Lag, LoopLag


class Time:
    """A clock that only sleeping moves, each time by a little more than was asked for."""

    def __init__(self, *lags: float) -> None:
        self.now = 1000.0
        self.lags = list(lags)

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if not self.lags:
            raise asyncio.CancelledError
        self.now += seconds + self.lags.pop(0)


async def measured(*lags: float) -> LoopLag:
    time = Time(*lags)
    lag = LoopLag(time.clock, time.sleep)
    with pytest.raises(asyncio.CancelledError):
        await lag.run()
    lag.check_integrity()
    return lag


async def test_the_lag_is_how_late_a_sleeper_wakes() -> None:
    found = (await measured(0.001, 0.012, 0.0)).last_minute()
    assert found is not None
    assert found.max_seconds == pytest.approx(0.012)


async def test_waking_early_is_no_lag() -> None:
    assert (await measured(-0.001)).last_minute() == Lag(0.0, 0.0)


def test_nothing_is_known_before_the_first_measurement() -> None:
    assert LoopLag(lambda: 5.0).last_minute() is None


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    time = Time()
    lag = LoopLag(time.clock)
    lag.add(0.5)
    time.now += SLOT_SECONDS
    lag.add(0.001)
    time.now += SLOT_SECONDS * (NUM_SLOTS - 2)
    assert lag.last_minute() == Lag(0.5, 0.5)
    time.now += SLOT_SECONDS
    assert lag.last_minute() == Lag(0.001, 0.001)
    time.now += SLOT_SECONDS
    assert lag.last_minute() is None


def test_a_minute_is_held_in_a_bounded_number_of_slots() -> None:
    time = Time()
    lag = LoopLag(time.clock)
    for _ in range(1000):
        lag.add(0.0001)
        time.now += 1.7
        lag.check_integrity()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300))
def test_the_quantile_is_that_of_the_sorted_lags_up_to_one_bucket(lags: list[float]) -> None:
    lag = LoopLag(lambda: 0.0)
    for each in lags:
        lag.add(each)
    found = lag.last_minute()
    true = sorted(lags)[math.ceil(0.99 * len(lags)) - 1]
    assert found is not None
    assert found.max_seconds == max(lags)
    assert true <= found.p99_seconds <= max(BOUNDS_SECONDS[0], true * 1.2)


async def test_a_loop_that_is_held_is_noticed() -> None:
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    until = loop.time() + 4 * INTERVAL_SECONDS
    while loop.time() < until:
        pass  # nothing else runs
    await asyncio.sleep(0.001)
    task.cancel()
    found = lag.last_minute()
    assert found is not None
    assert found.max_seconds >= 2 * INTERVAL_SECONDS
