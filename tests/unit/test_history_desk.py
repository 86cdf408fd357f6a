"""What the box remembers, and what it knows of sessions now, as operators see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.box import RunningBox
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.chronicle import Chronicle
from appliance.conversation import Hints, Identity
from appliance.errors import NotReady
from appliance.hint_book import OperatorHint, Verb
from appliance.history_desk import HistoryDesk
from appliance.records import ActionRecord
from appliance.retention import Retention, Subject
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.state.remembered import eviction, session, snapshot


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "state.db", Keeping(1e12, 0))
    database.start()
    yield database
    database.stop()


async def test_a_session_that_the_box_knows_is_told_as_it_is_now(database: Database) -> None:
    retention = Retention(load_policy("chat"))
    regions = RegionMap([Span(0, 64, Region.USER)])
    retention.begin(Subject(Identity("s2"), "demo", Hints(), regions, ()))
    database.record(session("s1", 10.0))
    database.record(session("s2", 20.0))
    told = (await HistoryDesk(database, retention).sessions(None, 10)).sessions
    assert [(one.session, one.state, one.is_live) for one in told] == [("s2", "running", True), ("s1", "idle", False)]
    (newest,) = (await HistoryDesk(database, None).sessions(15.0, 10)).sessions
    assert (newest.session, newest.is_live, newest.turns, newest.prompt_tokens) == ("s2", False, 1, 100)


async def test_past_evictions_and_seconds_are_told(database: Database) -> None:
    database.record(eviction(0, 10.0, "s1"))
    database.record(eviction(1, 20.0, "s2"))
    database.record(snapshot(30.0))
    desk = HistoryDesk(database, None)
    told = await desk.evictions(None, 5.0, 20.0, 10)
    assert [(one.number, one.owner, one.cause_session, one.rule) for one in told.evictions] == [
        (0, "s1", "s2", "coding-agent:3")
    ]
    assert [one.number for one in (await desk.evictions("s2", None, None, 10)).evictions] == [1]
    found = await desk.snapshot(35.0)
    assert found is not None
    assert (found.at, found.status["phase"]) == (30.0, "running")
    assert await desk.snapshot(29.0) is None


async def test_hints_of_a_moment_are_those_that_had_been_given_and_held_on(database: Database) -> None:
    def given(name: str, at: float, until: float) -> ActionRecord:
        hint = OperatorHint(name, Verb.PIN, "s1", "me", at, until, priority=100)
        return ActionRecord(at, "me", "hint pin", "s1", {"after": hint.facts()})

    database.record(given("short", 10.0, 20.0))
    database.record(given("long", 11.0, 90.0))
    database.record(given("gone", 12.0, 90.0))
    database.record(ActionRecord(30.0, "me", "hint withdraw", "s1", {"before": {"id": "gone"}}))
    desk = HistoryDesk(database, None)
    found = {at: [one.id for one in (await desk.hints(at)).hints] for at in (5.0, 10.5, 15.0, 25.0, 40.0, 95.0)}
    assert found == {
        5.0: [],
        10.5: ["short"],
        15.0: ["short", "long", "gone"],
        25.0: ["long", "gone"],
        40.0: ["long"],
        95.0: [],
    }
    (one,) = (await desk.hints(40.0)).hints
    assert (one.verb, one.session, one.remaining_seconds) == ("pin", "s1", 50.0)


async def test_a_box_shows_the_file_it_remembers_in(tmp_path: Path) -> None:
    box = RunningBox("http://127.0.0.1:8000", "demo", "demo")
    assert box.status().state is None
    with pytest.raises(NotReady, match="remembers nothing"):
        box.history()
    database = Database(tmp_path / "state.db", Keeping(1e12, 0))
    database.start()
    box.keep(Chronicle(database))
    box.recorder.record(session())
    assert database.settle()
    state = box.status().state
    assert state is not None
    assert (state.written, state.dropped, state.trouble) == ({"sessions": 1}, {}, None)
    assert [one.session for one in (await box.history().sessions(None, 5)).sessions] == ["s1"]
    database.stop()
