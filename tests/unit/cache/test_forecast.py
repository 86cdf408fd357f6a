from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.cache.eviction import NO_BLOCK, EvictionCore
from appliance.cache.forecast import BUSY, FINISHED, Forecast
from appliance.cache.hint import ExpectedDuration
from appliance.cache.return_table import ReturnTable, shipped_prior

SESSIONS = (0, 1, 63, 64, 200)


class PlainSession:
    """One session by the letter: three numbers, a class, a row, and a look at the table."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.tool: float | None = None
        self.human: float | None = None
        self.is_tool = False
        self.end = 0.0
        self.row: int | None = None

    def request(self, now: float) -> None:
        if self.row is None:
            return
        gap = math.log(max(now - self.end, 0.3))
        self.last = gap
        if self.is_tool:
            self.tool = gap if self.tool is None else 0.75 * self.tool + 0.25 * gap
        else:
            self.human = gap if self.human is None else 0.6 * self.human + 0.4 * gap
        self.row = None

    def response(self, now: float, is_tool: bool) -> None:
        self.is_tool, self.end = is_tool, now
        prior = shipped_prior()
        score = prior.tool_use if is_tool else prior.other
        total = score.base
        for number, mean, deviation, weight in zip(
            (self.last, self.tool, self.human), score.mean, score.deviation, score.weight, strict=True
        ):
            total += 0.0 if number is None else weight * (number - mean) / deviation
        self.row = (0 if is_tool else 8) + len([cut for cut in score.cuts if cut < total])

    def keep(self, table: ReturnTable, now: float) -> float:
        if self.row is None:
            return BUSY
        edges = table.prior.edges_seconds
        age_bin = max(place for place, edge in enumerate(edges) if edge <= max(0.0, now - self.end))
        return float(table.keep(self.row)[age_bin])


def core_of_idle_sessions() -> EvictionCore:
    """Each of them owns a block that may go."""
    core = EvictionCore(len(SESSIONS), num_sessions=201)
    for session, block in zip(SESSIONS, core.take(len(SESSIONS), 0).blocks.tolist(), strict=True):
        core.start_prompt(session)
        core.fill([block], [NO_BLOCK], session, 0)
        core.release([block], 0)
    return core


class ForecastMachine(RuleBasedStateMachine):
    """The arrays against plain sessions, with a table that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.forecast = Forecast(learns=False)
        self.core = core_of_idle_sessions()
        self.plain: dict[int, PlainSession] = {}
        self.running: set[int] = set()
        self.now = 0.0

    @rule(seconds=st.floats(0.0, 4000.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(session=st.sampled_from(SESSIONS))
    def request(self, session: int) -> None:
        if session not in self.running:
            self.forecast.request_arrived(session, self.now)
            self.plain.setdefault(session, PlainSession()).request(self.now)
            self.running.add(session)

    @rule(session=st.sampled_from(SESSIONS), is_tool=st.booleans())
    def response(self, session: int, is_tool: bool) -> None:
        if session in self.running:
            self.forecast.response_ended(session, self.now, waits_for_tool=is_tool)
            self.plain[session].response(self.now, is_tool)
            self.running.remove(session)

    @rule(session=st.sampled_from(SESSIONS))
    def forget(self, session: int) -> None:
        self.forecast.forget(session, self.now)
        self.plain.pop(session, None)
        self.running.discard(session)

    @rule()
    def another_core(self) -> None:
        self.core = core_of_idle_sessions()

    @invariant()
    def agrees(self) -> None:
        expected = [
            self.plain[session].keep(self.forecast.table, self.now) if session in self.plain else FINISHED
            for session in SESSIONS
        ]
        assert self.forecast.keep(np.array(SESSIONS), self.now).tolist() == expected
        self.forecast.tell(self.core, self.now)
        told = self.core.keeps()
        assert told[list(SESSIONS)].tolist() == expected
        self.forecast.check_integrity()


TestForecastMachine = ForecastMachine.TestCase


def worth(forecast: Forecast, session: int, now: float) -> float:
    return float(forecast.keep(np.array([session]), now)[0])


def test_a_session_that_was_never_seen_is_worth_nothing() -> None:
    assert worth(Forecast(), 3, 0.0) == FINISHED


def test_a_session_is_busy_until_the_last_of_its_requests_has_ended() -> None:
    forecast = Forecast()
    forecast.request_arrived(0, 0.0)
    forecast.request_arrived(0, 1.0)
    forecast.response_ended(0, 2.0, waits_for_tool=True)
    assert worth(forecast, 0, 2.0) == BUSY
    forecast.response_ended(0, 3.0, waits_for_tool=True)
    assert 0 < worth(forecast, 0, 3.0) < BUSY


def test_a_session_that_waits_for_a_tool_is_worth_more_than_one_that_waits_for_a_human() -> None:
    forecast = Forecast()
    for session, waits_for_tool in ((0, True), (1, False)):
        forecast.request_arrived(session, 0.0)
        forecast.response_ended(session, 1.0, waits_for_tool=waits_for_tool)
    assert worth(forecast, 0, 2.0) > worth(forecast, 1, 2.0)
    assert worth(forecast, 0, 61.0) < worth(forecast, 0, 2.0)


def test_a_finished_session_is_worth_nothing_until_it_asks_again() -> None:
    forecast = Forecast()
    forecast.request_arrived(0, 0.0)
    forecast.response_ended(0, 1.0, waits_for_tool=False, is_final=True)
    assert worth(forecast, 0, 1.0) == FINISHED
    forecast.request_arrived(0, 5.0)
    assert worth(forecast, 0, 5.0) == BUSY
    forecast.response_ended(0, 6.0, waits_for_tool=False)
    assert worth(forecast, 0, 6.0) > FINISHED


def test_a_word_that_it_is_over_holds_once_what_runs_has_ended() -> None:
    forecast = Forecast()
    forecast.request_arrived(0, 0.0)
    forecast.finish(0)
    assert worth(forecast, 0, 0.5) == BUSY
    forecast.response_ended(0, 1.0, waits_for_tool=True)
    assert worth(forecast, 0, 1.0) == FINISHED
    forecast.finish(7)


def test_a_gap_behind_a_final_response_teaches_nothing() -> None:
    forecast = Forecast()
    forecast.request_arrived(0, 0.0)
    forecast.response_ended(0, 1.0, waits_for_tool=True, is_final=True)
    forecast.request_arrived(0, 2.0)
    assert forecast.table.observed_gaps == 0


def test_gaps_that_were_seen_are_learned_and_those_of_a_forgotten_session_count_as_away() -> None:
    forecast = Forecast()
    forecast.request_arrived(0, 0.0)
    forecast.response_ended(0, 1.0, waits_for_tool=True)
    forecast.request_arrived(0, 3.0)
    forecast.response_ended(0, 4.0, waits_for_tool=True)
    forecast.forget(0, 1000.0)
    assert forecast.table.observed_gaps == 1
    assert forecast.to_dict() != Forecast().to_dict()


def test_a_hinted_gap_is_learned_in_the_row_without_the_hint() -> None:
    with_hint, without = Forecast(), Forecast()
    for forecast, hint in ((with_hint, ExpectedDuration(5.0)), (without, None)):
        forecast.request_arrived(0, 0.0)
        forecast.response_ended(0, 1.0, waits_for_tool=True, hint=hint)
        forecast.request_arrived(0, 7.0)
    assert with_hint.to_dict() == without.to_dict()


def test_what_was_learned_travels_as_json() -> None:
    forecast, other = Forecast(), Forecast()
    for turn in range(20):
        forecast.request_arrived(0, 10.0 * turn)
        forecast.response_ended(0, 10.0 * turn + 1, waits_for_tool=True)
    other.restore(json.loads(json.dumps(forecast.to_dict())))
    assert other.to_dict() == forecast.to_dict()


def test_a_response_without_a_request_is_refused() -> None:
    with pytest.raises(KeyError):
        Forecast().response_ended(0, 1.0, waits_for_tool=True)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=50), st.floats(0.0, 1e4))
def test_many_sessions_at_once_are_worth_what_each_is_alone(sessions: list[int], now: float) -> None:
    forecast = Forecast(learns=False)
    for session in set(sessions):
        if session % 3:
            forecast.request_arrived(session, float(session))
            if session % 2:
                forecast.response_ended(session, session + 1.0, waits_for_tool=session % 5 > 1)
    together = forecast.keep(np.array(sessions), 1000.0 + now)
    assert together.tolist() == [worth(forecast, session, 1000.0 + now) for session in sessions]


def test_a_session_whose_blocks_others_hold_is_told_of_and_one_that_owns_none_only_when_it_asks_again() -> None:
    forecast, core = Forecast(learns=False), core_of_idle_sessions()
    for session in SESSIONS[:2]:
        forecast.request_arrived(session, 0.0)
        forecast.response_ended(session, 1.0, waits_for_tool=True)
    held, dropped = (int(np.flatnonzero(core._tables.blocks["owner"] == session)[0]) for session in SESSIONS[:2])
    core.hold([held], 0)
    core.drop([dropped])
    forecast.tell(core, 1.0)
    forecast.tell(core, 100.0)
    assert core.keeps()[list(SESSIONS[:2])].tolist() == [forecast.keep(np.array(SESSIONS[:1]), 100.0)[0], 0.0]
    forecast.request_arrived(SESSIONS[1], 101.0)
    forecast.tell(core, 101.0)
    assert core.keeps()[SESSIONS[1]] == BUSY
