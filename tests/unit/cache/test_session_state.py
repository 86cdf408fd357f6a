from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import IntegrityError
from appliance.cache.session_state import Session, SessionRole, SessionState
from appliance.generation import FinishReason
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session(clock=clock)


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("tool_use", SessionState.TOOL_WAIT),
        ("tool_calls", SessionState.TOOL_WAIT),
        (FinishReason.TOOL_CALLS, SessionState.TOOL_WAIT),
        ("end_turn", SessionState.IDLE),
        (FinishReason.STOP, SessionState.IDLE),
        (FinishReason.LENGTH, SessionState.IDLE),
        (FinishReason.ABORT, SessionState.IDLE),
        (None, SessionState.IDLE),
    ],
)
def test_the_stop_reason_tells_what_is_waited_for(reason: str | None, state: SessionState, session: Session) -> None:
    session.start()
    assert session.state == SessionState.RUNNING
    session.stop(reason)
    assert session.state == state


@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
def test_an_hour_of_silence_finishes_a_session(reason: str, session: Session, clock: Clock) -> None:
    session.start()
    session.stop(reason)
    finishes_at = session.finishes_at
    clock.seconds += 3599.9
    before = session.state
    clock.seconds += 0.1
    assert (before == SessionState.FINISHED, session.state) == (False, SessionState.FINISHED)
    assert (finishes_at, session.finishes_at) == (clock.seconds, None)


def test_a_long_request_is_not_silence(session: Session, clock: Clock) -> None:
    session.start()
    clock.seconds += 7200
    assert (session.state, session.finishes_at) == (SessionState.RUNNING, None)
    session.stop("stop")
    assert session.finishes_at == clock.seconds + 3600


def test_a_last_request_runs_to_its_end_before_its_session_is_finished(session: Session) -> None:
    session.start()
    session.finish()
    states = [session.state]
    session.stop("tool_calls")
    assert [*states, session.state] == [SessionState.RUNNING, SessionState.FINISHED]


def test_a_new_request_opens_a_finished_session_again(session: Session) -> None:
    session.finish()
    session.start()
    session.stop("tool_calls")
    assert session.state == SessionState.TOOL_WAIT


def test_a_session_with_a_parent_is_a_subagent() -> None:
    assert Session("lead").role == SessionRole.SUBAGENT
    assert Session().role == SessionRole.LEAD


def test_a_stop_without_a_start_is_a_bug(session: Session) -> None:
    with pytest.raises(IntegrityError):
        session.stop("stop")


@given(st.lists(st.sampled_from(["start", "stop", "tool_calls", "finish", "wait"])))
def test_it_runs_exactly_while_a_request_is_in_flight(events: list[str]) -> None:
    clock = Clock()
    session, in_flight = Session(clock=clock), 0
    for event in events:
        match event:
            case "start":
                session.start()
                in_flight += 1
            case "finish":
                session.finish()
            case "wait":
                clock.seconds += 1800
            case reason if in_flight:
                session.stop(reason)
                in_flight -= 1
        session.check_integrity()
        assert (session.state == SessionState.RUNNING) == (in_flight > 0)
