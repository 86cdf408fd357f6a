from __future__ import annotations

import pytest

from appliance.keeper.remote.breaker import FAILURES, FIRST_SECONDS, MAX_SECONDS, Breaker, State
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, count: int = FAILURES) -> None:
    for _ in range(count):
        assert breaker.admit()
        breaker.failed()


def test_it_opens_after_so_many_failures_in_a_row_and_no_sooner(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.admit()
    breaker.succeeded()
    fail(breaker, FAILURES - 1)
    states = [breaker.state]
    fail(breaker, 1)
    assert [*states, breaker.state] == [State.CLOSED, State.OPEN]
    assert not breaker.admit()
    assert breaker.opened == 1


def test_after_a_while_one_call_is_let_through_and_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.seconds += FIRST_SECONDS
    states = [breaker.state]
    assert breaker.admit()
    assert not breaker.admit(), "one at a time"
    breaker.succeeded()
    assert [*states, breaker.state] == [State.HALF_OPEN, State.CLOSED]


def test_each_trial_that_fails_doubles_the_pause_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause = FIRST_SECONDS
    for _ in range(8):
        clock.seconds += pause - 0.001
        assert not breaker.admit()
        clock.seconds += 0.001
        fail(breaker, 1)
        pause = min(2 * pause, MAX_SECONDS)
    clock.seconds += MAX_SECONDS
    assert breaker.admit()
    breaker.succeeded()
    fail(breaker)
    clock.seconds += FIRST_SECONDS
    assert breaker.admit(), "a success has ended the long pauses"


def test_what_had_begun_before_it_opened_and_fails_later_does_not_prolong_the_pause(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.seconds += FIRST_SECONDS / 2
    breaker.failed()
    clock.seconds += FIRST_SECONDS / 2
    assert breaker.admit()
