"""What is old goes, in small steps, and the file gets smaller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from appliance.state import keeping
from appliance.state.backlog import Entry
from appliance.state.batch import Batches
from appliance.state.engines import ReadSession, WriteSession
from appliance.state.keeping import MOST_POLICIES, PAGES_A_STEP, ROWS_A_STEP, Keeping, trim, used_bytes
from appliance.state.opening import OpenFile, open_file
from appliance.state.reader import Reader
from appliance.state.tables import EvictionRow, RequestRow
from tests.unit.state.remembered import access, action, decision, eviction, policy, request, session, snapshot, view

DAY = 86400.0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OpenFile]:
    file = open_file(tmp_path / "state.db")
    yield file
    file.close()


def fill(file: OpenFile, entries: list[Entry]) -> None:
    with WriteSession(file.writing) as writing, writing.begin():
        Batches(writing).write(writing, entries)


def counts(file: OpenFile) -> dict[str, int]:
    with ReadSession(file.reading) as reading, reading.begin():
        return Reader(reading).counts()


def checkpoint(file: OpenFile) -> None:
    """All that was written is in the file itself."""
    with sqlite3.connect(file.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()


def test_what_is_older_than_its_time_goes_with_all_that_belongs_to_it(file: OpenFile) -> None:
    times = [0.5 * DAY, 1.5 * DAY, 2.5 * DAY]
    told: list[Entry] = []
    for number, at in enumerate(times):
        told += [request(f"r{number}", f"s{number}", at), eviction(number, at), action(at), policy("p", at)]
        told += [decision(number, at), view(at)]
        told += [session(f"s{number}", at), snapshot(at)]
    fill(file, told)
    steps = list(trim(file.writing, Keeping(2 * DAY, 0), 3 * DAY))
    assert sum(steps) == 7
    left = counts(file)
    assert (left["requests"], left["ranges"], left["evictions"], left["actions"]) == (2, 6, 2, 2)
    assert left["decisions"] == 2
    assert (left["sessions"], left["policies"]) == (2, 3)
    # The first second was a whole one, and the two after it lean on it.
    assert (left["snapshots"], left["views"]) == (0, 0)


def test_a_step_is_small_however_much_there_is_to_do(file: OpenFile) -> None:
    fill(file, [eviction(number, 1.0) for number in range(3 * ROWS_A_STEP)])
    assert max(trim(file.writing, Keeping(1.0, 0), 100.0)) == ROWS_A_STEP
    assert counts(file)["evictions"] == 0


def test_a_clock_that_jumps_ahead_and_back_drops_nothing_of_the_future(file: OpenFile) -> None:
    fill(file, [request("r1", None, 100 * DAY), request("r2", None, 1 * DAY)])
    list(trim(file.writing, Keeping(DAY, 0), 1.5 * DAY))
    assert counts(file)["requests"] == 2


def test_a_session_stays_as_long_as_a_request_of_it(file: OpenFile) -> None:
    fill(file, [request("r1", "s1", 9 * DAY), session("s1", 1 * DAY), session("s2", 1 * DAY)])
    list(trim(file.writing, Keeping(2 * DAY, 0), 10 * DAY))
    with ReadSession(file.reading) as reading:
        assert [one.name for one in Reader(reading).sessions()] == ["s1"]


def test_policies_stay_but_not_without_end(file: OpenFile) -> None:
    fill(file, [policy(f"p{number}", 0.0) for number in range(MOST_POLICIES + 7)])
    list(trim(file.writing, Keeping(1.0, 0), 1e9))
    with ReadSession(file.reading) as reading:
        left = Reader(reading).policies(limit=10**6)
    assert len(left) == MOST_POLICIES
    assert left[0].name == f"p{MOST_POLICIES + 6}"


@pytest.mark.parametrize(("most_accesses", "most_blocks", "left"), [(700, 10**6, 700), (10**6, 900, 450), (99, 50, 25)])
def test_accesses_stay_as_far_back_as_a_start_reads_them(
    file: OpenFile, monkeypatch: pytest.MonkeyPatch, most_accesses: int, most_blocks: int, left: int
) -> None:
    monkeypatch.setattr(keeping, "MOST_ACCESSES", most_accesses)
    monkeypatch.setattr(keeping, "MOST_BLOCKS", most_blocks)
    fill(file, [access(f"s{number}") for number in range(1500)])
    steps = list(trim(file.writing, Keeping(1e12, 0), 100.0))
    assert (sum(steps), max(steps)) == (1500 - left, ROWS_A_STEP)
    with ReadSession(file.reading) as reading:
        found = Reader(reading).accesses("demo", 16)
    assert [one.session for one in found] == [f"s{number}" for number in range(1500 - left, 1500)]


def test_old_accesses_go_with_their_time(file: OpenFile) -> None:
    fill(file, [access("old", 1.0), access("new", 9 * DAY)])
    assert sum(trim(file.writing, Keeping(DAY, 0), 9.5 * DAY)) == 1
    with ReadSession(file.reading) as reading:
        assert [one.session for one in Reader(reading).accesses("demo", 16)] == ["new"]


@settings(max_examples=5)
@given(st.integers(200, 2000), st.integers(200, 2000), st.sampled_from([300_000, 400_000]))
def test_a_file_that_is_too_large_loses_the_oldest_of_each_kind(
    tmp_path_factory: pytest.TempPathFactory, requests: int, evictions: int, most: int
) -> None:
    file = open_file(tmp_path_factory.mktemp("law") / "state.db")
    try:
        fill(file, [request(f"r{number}", "s1", float(number)) for number in range(requests)])
        fill(file, [eviction(number, float(number)) for number in range(evictions)])
        was_too_large = used_bytes(file.writing) > most
        gone = sum(trim(file.writing, Keeping(1e12, most), 1e6))
        assert used_bytes(file.writing) <= most
        assert bool(gone) == was_too_large
        left = counts(file)
        with ReadSession(file.reading) as reading:
            first_request = reading.scalar(select(func.min(RequestRow.arrived_at)))
            first_eviction = reading.scalar(select(func.min(EvictionRow.at)))
        assert left["requests"] and first_request == requests - left["requests"]  # noqa: PT018 – the first guards the second
        assert left["evictions"] and first_eviction == evictions - left["evictions"]  # noqa: PT018
        assert left["ranges"] == 3 * left["requests"]
    finally:
        file.close()


def test_room_that_is_free_goes_back_to_the_disk_in_steps(file: OpenFile) -> None:
    fill(file, [request(f"r{number}", "s1", 1.0) for number in range(6000)])
    checkpoint(file)
    before = file.path.stat().st_size
    steps = list(trim(file.writing, Keeping(1.0, 0), 1e6))
    checkpoint(file)
    assert steps.count(0) >= before // 4096 // PAGES_A_STEP - 2
    assert file.path.stat().st_size <= (PAGES_A_STEP + 60) * 4096


def test_a_file_that_holds_nothing_to_forget_ends_the_round(file: OpenFile) -> None:
    fill(file, [policy()])
    assert sum(trim(file.writing, Keeping(1.0, 1), 1e6)) == 0
