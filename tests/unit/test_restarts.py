from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from appliance.restarts import RestartBudget
from tests.clock import Clock

WINDOW_SECONDS = 100.0

# Eighths add up exactly, so that a window's edge is where the test thinks it is.
gaps = st.lists(st.integers(0, 1600).map(lambda eighths: eighths / 8), max_size=40)


def delays(
    waits: Sequence[float], limit: int, backoff_seconds: float = 1.0, max_seconds: float = 8.0
) -> list[tuple[float, float | None]]:
    """When a restart was asked for, and the answer."""
    clock = Clock(0.0)
    budget = RestartBudget(limit, WINDOW_SECONDS, backoff_seconds, max_seconds, clock)
    answers = []
    for wait in waits:
        clock.seconds += wait
        answers.append((clock.seconds, budget.take()))
    assert budget.total == sum(delay is not None for _, delay in answers)
    return answers


@given(gaps, st.integers(0, 5))
def test_a_restart_is_allowed_exactly_when_the_window_before_it_has_room(waits: list[float], limit: int) -> None:
    taken: list[float] = []
    for now, delay in delays(waits, limit):
        in_window = [then for then in taken if now - WINDOW_SECONDS < then]
        assert (delay is not None) == (len(in_window) < limit)
        if delay is not None:
            taken.append(now)


@given(gaps)
@example([0.0, 99.0, 99.0, 99.0, 99.0])
@example([0.0, 99.0, 100.0])
def test_a_delay_is_twice_the_last_up_to_the_most_and_the_first_again_after_a_quiet_window(waits: list[float]) -> None:
    last: tuple[float, float] | None = None
    for now, delay in delays(waits, limit=3):
        if delay is None:
            continue
        quiet = last is None or last[0] <= now - WINDOW_SECONDS
        assert delay == (1.0 if quiet or last is None else min(2 * last[1], 8.0))
        last = (now, delay)


def test_without_backoff_restarts_come_at_once() -> None:
    assert [delay for _, delay in delays([0.0] * 4, limit=3, backoff_seconds=0.0)] == [0.0, 0.0, 0.0, None]
