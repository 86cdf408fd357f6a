from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.accounting import SAMPLES, WAIT_BOUNDS_SECONDS, WINDOW_SECONDS, Accounts, PromptRead, QueueAccount, Rate
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    return Accounts(clock)


@given(st.lists(st.floats(0, 1000)))
def test_waits_fall_into_the_first_bound_that_is_not_below_them(waits: list[float]) -> None:
    account = QueueAccount()
    for seconds in waits:
        account.taken(seconds)
    bounds = (*WAIT_BOUNDS_SECONDS, float("inf"))
    expected = [sum(low < wait <= high for wait in waits) for low, high in pairwise((-1.0, *bounds))]
    assert account.waits == expected
    assert account.waited_seconds == pytest.approx(sum(waits))
    assert account.last_waited_seconds == next((wait for wait in reversed(waits) if wait), 0.0)


def test_a_request_counts_for_a_minute_to_the_edge_and_no_longer(accounts: Accounts, clock: Clock) -> None:
    accounts.prompt_read(PromptRead(100, 60), 0.1)
    clock.seconds += WINDOW_SECONDS
    assert accounts.last_minute() == Rate(100, 60)
    clock.seconds += 0.001
    assert accounts.last_minute() == Rate(0, 0)
    assert accounts.since_start() == Rate(100, 60)


# Eighths add up exactly, so that a window's edge is where the test thinks it is.
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_the_last_minute_is_the_sum_over_the_requests_in_it(reads: list[tuple[int, int, int]]) -> None:
    clock = Clock()
    accounts = Accounts(clock)
    seen: list[tuple[float, int, int]] = []
    for eighths, cached, uncached in reads:
        clock.seconds += eighths / 8
        accounts.prompt_read(PromptRead(cached + uncached, cached), 0.1)
        seen.append((clock.seconds, cached + uncached, cached))
        recent = [entry for entry in seen if entry[0] >= clock.seconds - WINDOW_SECONDS]
        assert accounts.last_minute() == Rate(sum(entry[1] for entry in recent), sum(entry[2] for entry in recent))
    assert accounts.since_start() == Rate(sum(entry[1] for entry in seen), sum(entry[2] for entry in seen))


def test_memory_is_bounded_and_the_sums_since_start_are_not(accounts: Accounts) -> None:
    for number in range(SAMPLES + 10):
        accounts.prompt_read(PromptRead(2, 1), float(number))
    assert accounts.since_start() == Rate(2 * (SAMPLES + 10), SAMPLES + 10)
    assert accounts.last_minute() == Rate(2 * SAMPLES, SAMPLES)
    assert accounts.ttft_quantile(0.0) == 10.0
    assert len(accounts._recent) == len(accounts._ttft_seconds) == SAMPLES


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(0, 16))
def test_a_quantile_is_the_least_time_that_the_share_stayed_within(samples: list[float], sixteenths: int) -> None:
    accounts = Accounts(lambda: 0.0)
    for seconds in samples:
        accounts.prompt_read(PromptRead(1, 0), seconds)
    share = sixteenths / 16
    within = [bound for bound in samples if sum(seconds <= bound for seconds in samples) >= share * len(samples)]
    assert accounts.ttft_quantile(share) == min(within)


def test_nothing_asked_is_unknown_and_not_zero(accounts: Accounts) -> None:
    assert accounts.ttft_quantile(0.5) is None
    assert accounts.since_start().hit_rate is None
    accounts.prompt_read(PromptRead(0, 0), 0.1)
    assert accounts.last_minute().hit_rate is None


def test_the_hit_rate_is_the_share_read_from_cache() -> None:
    assert Rate(80, 60).hit_rate == 0.75
