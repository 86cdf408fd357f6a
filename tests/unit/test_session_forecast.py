from __future__ import annotations

from typing import Any

import pytest

from appliance.conversation import Hints
from appliance.session_forecast import UNNAMED_AGE_SECONDS, SessionForecast, batches
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forecast(clock: Clock) -> SessionForecast:
    return SessionForecast(clock=clock)


def ask(forecast: SessionForecast, name: str, stop_reason: str | None = "stop", **hints: Any) -> None:
    forecast.arrived(name)
    forecast.ended(name, stop_reason, Hints(**hints))
    forecast.check_integrity()


def test_a_session_with_a_request_is_not_among_the_idle_ones(forecast: SessionForecast) -> None:
    ask(forecast, "a")
    forecast.arrived("b")
    forecast.arrived("b")
    forecast.ended("b", "stop", Hints())
    assert forecast.keeps().keys() == {"a"}
    forecast.ended("b", "stop", Hints())
    assert forecast.keeps().keys() == {"a", "b"}


def test_a_session_that_waits_for_a_tool_is_worth_more_than_one_that_waits_for_a_human(
    forecast: SessionForecast, clock: Clock
) -> None:
    ask(forecast, "tool", "tool_calls")
    ask(forecast, "human", "stop")
    clock.seconds += 5
    keeps = forecast.keeps()
    assert keeps["tool"] > keeps["human"] > 0


def test_a_session_that_said_it_is_final_is_worth_nothing_until_it_asks_again(forecast: SessionForecast) -> None:
    ask(forecast, "a", session_final=True)
    assert forecast.keeps() == {"a": 0.0}
    ask(forecast, "a")
    assert forecast.keeps()["a"] > 0


def test_a_tool_that_takes_long_makes_its_session_worth_less_at_first(forecast: SessionForecast, clock: Clock) -> None:
    ask(forecast, "short", "tool_calls", tool_wait_seconds=3.0)
    ask(forecast, "long", "tool_calls", tool_wait_seconds=300.0)
    ask(forecast, "human", "stop", tool_wait_seconds=3.0)
    ask(forecast, "silent", "stop")
    clock.seconds += 1
    keeps = forecast.keeps()
    assert keeps["short"] > keeps["long"]
    assert keeps["human"] == keeps["silent"]


def test_a_short_usual_gap_makes_its_session_worth_more_whatever_it_stopped_for(
    forecast: SessionForecast, clock: Clock
) -> None:
    for stop in ("tool_calls", "stop"):
        ask(forecast, f"{stop} short", stop, interarrival_seconds=2.0)
        ask(forecast, f"{stop} long", stop, interarrival_seconds=400.0)
        ask(forecast, f"{stop} silent", stop)
    clock.seconds += 0.5
    keeps = forecast.keeps()
    for stop in ("tool_calls", "stop"):
        assert keeps[f"{stop} short"] > keeps[f"{stop} silent"] > keeps[f"{stop} long"] > 0


def test_a_tool_time_counts_before_a_usual_gap_where_a_tool_was_called(forecast: SessionForecast) -> None:
    ask(forecast, "both", "tool_calls", tool_wait_seconds=30.0, interarrival_seconds=0.25)
    ask(forecast, "tool", "tool_calls", tool_wait_seconds=30.0)
    ask(forecast, "human", "stop", tool_wait_seconds=30.0, interarrival_seconds=0.25)
    ask(forecast, "gap", "stop", interarrival_seconds=0.25)
    keeps = forecast.keeps()
    assert keeps["both"] == keeps["tool"]
    assert keeps["human"] == keeps["gap"]


def test_a_usual_gap_that_says_nothing_costs_a_session_little_once_it_is_long_past(
    forecast: SessionForecast, clock: Clock
) -> None:
    ask(forecast, "constant", "tool_calls", interarrival_seconds=0.25)
    ask(forecast, "silent", "tool_calls")
    clock.seconds += 30
    keeps = forecast.keeps()
    assert 0.5 * keeps["silent"] < keeps["constant"] < keeps["silent"]


def test_what_is_forgotten_is_gone_and_its_number_is_used_again(forecast: SessionForecast) -> None:
    ask(forecast, "a", session_final=True)
    forecast.arrived("b")
    forecast.forget("a")
    forecast.forget("b")
    forecast.forget("never known")
    forecast.ended("b", "stop", Hints())
    assert ("a" in forecast, len(forecast), forecast.keeps()) == (False, 0, {})
    ask(forecast, "c")
    ask(forecast, "d")
    assert min(forecast.keeps().values()) > 0


def test_blocks_of_no_session_are_worth_what_those_of_an_unknown_one_are_after_a_minute(
    forecast: SessionForecast, clock: Clock
) -> None:
    ask(forecast, "new")
    assert forecast.unnamed() < forecast.keeps()["new"]
    clock.seconds += UNNAMED_AGE_SECONDS
    assert forecast.unnamed() == forecast.keeps()["new"]


def test_what_was_learned_outlives_the_process(forecast: SessionForecast, clock: Clock) -> None:
    for _ in range(200):
        ask(forecast, "a")
        clock.seconds += 2
    other = SessionForecast(clock=clock)
    other.restore(forecast.learned())
    assert other.observed_gaps == forecast.observed_gaps == 199
    assert other.learned() == forecast.learned() != SessionForecast().learned()


def test_keeps_are_told_in_pieces_and_at_least_once() -> None:
    assert list(batches({}, 2)) == [{}]
    assert list(batches({"a": 1.0, "b": 2.0}, 2)) == [{"a": 1.0, "b": 2.0}]
    assert list(batches({"a": 1.0, "b": 2.0, "c": 3.0}, 2)) == [{"a": 1.0, "b": 2.0}, {"c": 3.0}]
