"""What is recorded comes back."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.records import RequestRecord
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.unit.state.remembered import access, action, decision, eviction, policy, request, requests, session, snapshot

FOR_EVER = Keeping(1e12, 0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "data" / "state.db", FOR_EVER)
    assert database.start() == []
    yield database
    database.stop()


async def test_each_kind_comes_back_as_it_was(database: Database) -> None:
    told = (session(), request(), eviction(), decision(), action(), policy(), snapshot(), access(tool_wait_seconds=2.5))
    for record in told:
        database.record(record)
    assert await database.ask(lambda reader: reader.request("r1")) == request()
    assert await database.ask(lambda reader: reader.requests()) == [request()]
    assert await database.ask(lambda reader: reader.sessions()) == [session()]
    assert await database.ask(lambda reader: reader.session("s1")) == session()
    assert await database.ask(lambda reader: reader.evictions()) == [eviction()]
    assert await database.ask(lambda reader: reader.decisions()) == [decision()]
    assert await database.ask(lambda reader: reader.actions()) == [action()]
    assert await database.ask(lambda reader: reader.policies()) == [policy()]
    assert await database.ask(lambda reader: reader.snapshot()) == snapshot()
    assert await database.ask(lambda reader: reader.accesses("demo", 16)) == [access(tool_wait_seconds=2.5)]
    facts = database.facts()
    kinds = ("sessions", "requests", "evictions", "decisions", "actions", "policies", "snapshots", "accesses")
    assert facts.written == dict.fromkeys(kinds, 1)
    assert (facts.queued, facts.dropped, facts.refused, facts.trouble) == (0, {}, {}, None)
    assert facts.bytes


def test_what_is_not_there_is_none_or_an_empty_list(database: Database) -> None:
    assert database.read(lambda reader: reader.request("nobody")) is None
    assert database.read(lambda reader: reader.session("nobody")) is None
    assert database.read(lambda reader: reader.snapshot()) is None
    assert database.read(lambda reader: reader.requests(session="nobody")) == []
    assert database.read(lambda reader: reader.evictions(since=0.0)) == []


def test_only_its_owner_may_read_the_file(database: Database) -> None:
    database.record(request())
    assert database.settle()
    for path in database.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_request_of_the_same_id_stands_instead_of_the_first(database: Database) -> None:
    database.record(request(worker=0))
    assert database.settle()
    database.record(request(worker=1, ranges=()))
    assert database.read(lambda reader: reader.requests()) == [request(worker=1, ranges=())]


def test_a_decision_that_is_told_again_keeps_its_time_and_place(database: Database) -> None:
    database.record(decision(1, 100.0, b"weighed"))
    database.record(decision(2, 101.0))
    assert database.settle()
    database.record(decision(1, 100.01, b"settled"))
    database.record(decision(1, 100.02, b"settled late"))
    assert database.read(lambda reader: reader.decisions()) == [decision(2, 101.0), decision(1, 100.0, b"settled late")]
    assert database.read(lambda reader: reader.decisions(until=101.0, limit=1)) == [decision(1, 100.0, b"settled late")]


def test_a_session_is_known_by_its_requests_until_it_is_told_of(database: Database) -> None:
    database.record(request(arrived_at=100.0))
    known = database.read(lambda reader: reader.session("s1"))
    assert known is not None
    assert (known.state, known.turns, known.last_used_at) == (None, None, 101.5)
    database.record(session(last_used_at=200.0))
    assert database.read(lambda reader: reader.session("s1")) == session(last_used_at=200.0)
    database.record(request("r2", arrived_at=150.0))
    assert database.read(lambda reader: reader.session("s1")) == session(last_used_at=200.0)


def test_a_snapshot_is_of_the_second_that_is_asked_for(database: Database) -> None:
    for second in range(130):
        database.record(snapshot(100.0 + second, second=second))
        if second % 50 == 0:
            assert database.settle()
    for asked, its in ((99.0, None), (100.0, 0), (100.9, 0), (161.5, 61), (1e9, 129)):
        found = database.read(lambda reader, at=asked: reader.snapshot(at))  # type: ignore[misc]
        assert (found and found.status["second"]) == its


def test_a_clock_that_jumps_back_loses_nothing(database: Database) -> None:
    for number, at in enumerate((100.0, 200.0, 50.0, 60.0)):
        database.record(request(f"r{number}", arrived_at=at))
        database.record(snapshot(at, number=number))
        database.record(policy(f"p{number}", at))
    found = database.read(lambda reader: reader.requests())
    assert [one.id for one in found] == ["r1", "r0", "r3", "r2"]
    assert database.read(lambda reader: reader.policies())[0].name == "p3"
    earlier = database.read(lambda reader: reader.snapshot(70.0))
    assert earlier is not None
    assert earlier.status["number"] == 3


@given(
    st.lists(requests, max_size=12),
    st.none() | st.text(max_size=2),
    st.none() | st.floats(0, 1e6),
    st.none() | st.floats(0, 1e6),
    st.integers(1, 5),
)
def test_a_list_is_what_a_scan_of_all_records_finds(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[RequestRecord],
    name: str | None,
    since: float | None,
    until: float | None,
    limit: int,
) -> None:
    database = Database(tmp_path_factory.mktemp("law") / "state.db", FOR_EVER)
    database.start()
    try:
        for record in told:
            database.record(record)
        last = list({record.id: record for record in told}.values())
        order = sorted(enumerate(last), key=lambda one: (-one[1].arrived_at, -one[0]))
        wanted = [
            record
            for _, record in order
            if name in (None, record.session)
            and (since is None or record.arrived_at >= since)
            and (until is None or record.arrived_at < until)
        ]
        found = database.read(lambda reader: reader.requests(name, since, until, limit))
        assert found == wanted[:limit]
        for record in last:
            assert database.read(lambda reader, its=record.id: reader.request(its)) == record  # type: ignore[misc]
    finally:
        database.stop()
    with sqlite3.connect(database.path) as connection:
        sums = "SELECT count(*) FROM requests WHERE prompt_tokens != 100 OR gpu_tokens + host_tokens + disk_tokens"
        sums += " + remote_tokens + recomputed_tokens != (SELECT sum(end - start) FROM ranges WHERE request = number)"
        assert connection.execute(sums).fetchone() == (0,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


@pytest.mark.parametrize(
    "bad", [{"hints": {"what": object()}}, {"client": "\ud800"}, {"prompt_tokens": 2**80}, {"model": None}]
)
def test_a_record_that_the_file_does_not_take_is_counted_and_the_others_are_written(
    database: Database, caplog: pytest.LogCaptureFixture, bad: dict[str, Any]
) -> None:
    for one in (request("r1"), request("r2", **bad), request("r3")):
        database.record(one)
    found = database.read(lambda reader: reader.requests())
    assert [one.id for one in found] == ["r3", "r1"]
    assert database.facts().refused == {"requests": 1}
    assert "a record is not written" in caplog.text


def test_what_finds_no_room_is_dropped_by_kind_and_counted(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db", FOR_EVER)
    for number in range(130):
        database.record(snapshot(number))
        database.record(action(number))
    assert database.facts().dropped == {"snapshots": 10}
    assert database.facts().queued == 120 + 130
    database.start()
    assert database.settle()
    database.record(snapshot(1e6))
    assert database.read(lambda reader: reader.counts())["snapshots"] == 121
    database.stop()


def test_accesses_are_read_of_one_model_and_size_of_blocks_and_no_more_than_are_asked_for(database: Database) -> None:
    others = [access("other", model="another"), access("larger", block_tokens=32)]
    for record in (*(access(f"s{number}") for number in range(6)), *others):
        database.record(record)
    assert [one.session for one in database.read(lambda reader: reader.accesses("demo", 16, limit=4))] == [
        *("s2", "s3", "s4", "s5")
    ]
    # Two blocks each: the newest ten are of five accesses, of which two are not asked for.
    found = database.read(lambda reader: reader.accesses("demo", 16, most_blocks=10))
    assert [one.session for one in found] == ["s3", "s4", "s5"]
    assert database.read(lambda reader: reader.accesses("nobody", 16)) == []


def test_accesses_wait_as_long_as_there_is_room_for_their_bytes(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db", FOR_EVER)
    for _ in range(20):
        database.record(access(keys=bytes(2**20), regions=bytes(2**17)))
    assert database.facts().dropped == {"accesses": 6}
    database.record(session())
    assert database.facts().queued == 15


def test_all_that_waits_is_written_at_the_end(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db", FOR_EVER)
    database.start()
    for number in range(5000):
        database.record(eviction(number))
    database.stop()
    database.stop()
    again = Database(tmp_path / "state.db", FOR_EVER)
    assert again.start() == []
    assert again.read(lambda reader: reader.counts())["evictions"] == 5000
    again.stop()
