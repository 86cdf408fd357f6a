"""What the access log tells of is what it is filled with after a restart."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import access_log
from appliance.access_log import AccessLog, Added, Served, whole_entries
from appliance.access_records import Recalled, lateness, record_of
from appliance.api.responses_memory import MemoryStore
from appliance.cache.trace import REGIONS, Access
from appliance.chronicle import Chronicle
from appliance.records import AccessRecord
from appliance.router.hashing import hash_blocks, root_of
from appliance.state.database import Database
from appliance.state.keeping import Keeping
from tests.clock import Clock
from tests.unit.state.remembered import access as record

AHEAD = 2.0**20
"""Of the wall's clock; sums with it are exact."""
FOR_EVER = Keeping(1e12, 0)

PROMPTS = st.lists(st.integers(0, 1), max_size=6)
ASKED = st.lists(
    st.tuples(st.sampled_from("abc"), PROMPTS, st.integers(0, 2), st.booleans(), st.none() | st.integers(0, 9)),
    max_size=25,
)


def served(number: int, session: str, tokens: list[int], region: int, is_final: bool, wait: int | None) -> Served:
    """With blocks of one token: equal prompts have equal keys, and a key names all before it."""
    keys = hash_blocks(tokens, 1, root=root_of("demo")).view(np.int64)
    regions = np.full(len(keys), region, np.uint8)
    regions[:1] = len(REGIONS)
    access = Access(
        session,
        number,
        number + 0.5,
        len(tokens),
        3,
        keys,
        bool(number % 2),
        is_final,
        None if wait is None else wait / 2,
        regions,
    )
    return Served(number % 3, number, access)


def facts(one: Served) -> tuple[Any, ...]:
    access = one.access
    assert access.regions is not None
    plain = (access.session, access.arrival_seconds, access.end_seconds, access.prompt_tokens, access.output_tokens)
    hints = (access.waits_for_tool, access.is_final, access.tool_wait_seconds)
    return (one.worker, one.read_tokens, plain, hints, access.block_keys.tolist(), access.regions.tolist())


def told(log: AccessLog, asked: list[tuple[Any, ...]], first: int = 0) -> tuple[list[Served], list[AccessRecord]]:
    """What is added, and the records of it."""
    added: list[Added] = []
    log.on_added = added.append
    whole = [served(number, *one) for number, one in enumerate(asked, first)]
    for one in whole:
        log.add(one)
    return whole, [record_of(one, "demo", 1, AHEAD) for one in added]


def refilled(records: list[AccessRecord]) -> AccessLog:
    log = AccessLog(1)
    log.restore(Recalled(records, AHEAD, now=2 * AHEAD))
    return log


@given(ASKED, st.integers(0, 3))
def test_a_log_that_was_remembered_is_the_log_again(asked: list[tuple[Any, ...]], most_leaning: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access_log, "MOST_LEANING", most_leaning)
        log = AccessLog(1)
        _, records = told(log, asked)
    again = refilled(records)
    assert [*map(facts, whole_entries(again.snapshot()))] == [*map(facts, whole_entries(log.snapshot()))]
    assert (again.num_blocks, again.dropped) == (log.num_blocks, 0)
    leaning = dict.fromkeys("abc", 0)
    for one in records:
        leaning[one.session] = leaning[one.session] + 1 if one.kept else 0
        assert leaning[one.session] <= most_leaning


@given(ASKED, st.data())
def test_whatever_is_lost_what_comes_back_is_true_and_what_stands_alone_comes_back(
    asked: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    whole, records = told(AccessLog(1), asked)
    is_there = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    left = [number for number, there in enumerate(is_there) if there]
    recalled = Recalled([records[number] for number in left], AHEAD, now=2 * AHEAD)
    found = {one.read_tokens: facts(one) for one in recalled}
    assert found.items() <= {number: facts(whole[number]) for number in left}.items()
    assert len(found) + recalled.lost == len(left)
    assert {number for number in left if not records[number].kept} <= set(found)


def test_an_access_is_not_joined_to_another_one_than_it_leans_on() -> None:
    asked = [("a", prompt, 0, False, None) for prompt in ([0, 0], [1, 1], [1, 1, 0], [1, 1, 0, 0])]
    whole, records = told(AccessLog(1), asked)
    assert [one.kept for one in records] == [0, 0, 2, 3]
    recalled = Recalled([records[0], *records[2:]], AHEAD, now=2 * AHEAD)
    assert ([*map(facts, recalled)], recalled.lost) == ([facts(whole[0])], 2)


@given(ASKED, ASKED)
def test_a_log_goes_on_from_what_it_remembers(first: list[tuple[Any, ...]], then: list[tuple[Any, ...]]) -> None:
    log = AccessLog(1)
    _, records = told(log, first)
    again = refilled(records)
    whole, more = told(again, then, len(first))
    found = [*map(facts, whole_entries(refilled(records + more).snapshot()))]
    assert found == [*map(facts, whole_entries(log.snapshot())), *map(facts, whole)]


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 9)), max_size=20), st.integers(0, 100))
def test_a_clock_that_was_set_back_leaves_times_in_order_and_before_now(steps: list[tuple[int, int]], now: int) -> None:
    records, at = [], 0
    for step, took in steps:
        at += step
        records.append(record("s", float(at), ended_at=float(at + took)))
    late = lateness(records, float(now))
    ends = [one.ended_at - seconds for one, seconds in zip(records, late, strict=True)]
    assert ends == sorted(ends)
    assert all(end <= now for end in ends)
    assert all(seconds >= 0 for seconds in late)
    if [one.ended_at for one in records] == sorted(one.ended_at for one in records if one.ended_at <= now):
        assert not any(late)


def test_those_of_no_session_stay_apart_from_those_before() -> None:
    log = AccessLog(1)
    log.restore([served(0, "#7", [1], 0, False, None), served(1, "#x", [1], 0, False, None)])
    assert next(log._nobodys) == 8


async def test_after_a_restart_the_record_is_of_before_it_on_the_new_clock(tmp_path: Path) -> None:
    async def opened(wall: float, monotonic: float) -> tuple[Chronicle, AccessLog, str | None]:
        chronicle, log = Chronicle(Database(tmp_path / "state.db", FOR_EVER), clock=Clock(wall)), AccessLog(1)
        assert await chronicle.open(MemoryStore()) == []
        return chronicle, log, await chronicle.keep_accesses(log, "demo", Clock(monotonic))

    before, log, words = await opened(5000.0, 10.0)
    assert words is None
    log.add(served(11, "a", [1, 0], 0, False, None))
    log.add(served(12, "a", [1, 0, 1], 0, False, None))
    await before.close()
    after, again, words = await opened(5060.0, 4.0)
    assert words == "2 request(s) can be replayed from before"
    first, second = whole_entries(again.snapshot())
    # 5,001 by the wall, which is a minute less a second ago.
    assert (first.access.arrival_seconds, second.access.arrival_seconds) == (-55.0, -54.0)
    assert second.access.block_keys.tolist() == served(0, "a", [1, 0, 1], 0, False, None).access.block_keys.tolist()
    await after.close()
    another = Chronicle(Database(tmp_path / "state.db", FOR_EVER))
    await another.open(MemoryStore())
    other = AccessLog(1)
    assert await another.keep_accesses(other, "another model", Clock()) is None
    assert len(other) == 0
    await another.close()


async def test_a_damaged_access_keeps_no_box_from_starting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = Chronicle(Database(tmp_path / "state.db", FOR_EVER))
    await before.open(MemoryStore())
    before.database.record(record())
    await before.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE accesses SET regions = x'00'")
    connection.close()
    after, log = Chronicle(Database(tmp_path / "state.db", FOR_EVER)), AccessLog(16)
    assert await after.open(MemoryStore()) == []
    assert await after.keep_accesses(log, "demo", Clock()) == "what-if begins anew"
    assert "access 1 is damaged" in caplog.text
    log.add(served(0, "a", [1], 0, False, None))
    assert (await after.database.ask(lambda reader: reader.counts()))["accesses"] == 2
    await after.close()


CHILD = """
import sys
from pathlib import Path
from tests.unit.test_access_records import *

log, database = AccessLog(1), Database(Path(sys.argv[1]), FOR_EVER)
assert database.start() == []
log.on_added = lambda added: database.record(record_of(added, "demo", 1, AHEAD))
for number in range(100_000):
    log.add(turn(number))
    if number % 50 == 0:
        assert database.settle(10)
        print(number, flush=True)
"""


def turn(number: int) -> Served:
    """Two sessions, which grow and are cut back."""
    return served(number, f"s{number % 2}", [number % 2] * (number % 70 + 1), 0, False, None)


def test_a_box_killed_in_the_middle_finds_all_that_was_written_and_nothing_else(tmp_path: Path) -> None:
    line = [sys.executable, "-c", CHILD, str(tmp_path / "state.db")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        settled = [int(child.stdout.readline()) for _ in range(6)]
        child.send_signal(signal.SIGKILL)
    database = Database(tmp_path / "state.db", FOR_EVER)
    assert database.start() == []
    records = database.read(lambda reader: reader.accesses("demo", 1))
    database.stop()
    assert len(records) > settled[-1]
    again = refilled(records)
    assert (len(again), again.dropped) == (len(records), 0)
    assert [*map(facts, whole_entries(again.snapshot()))] == [facts(turn(number)) for number in range(len(records))]


def test_names_of_blocks_are_the_same_in_every_process() -> None:
    line = "from appliance.router.hashing import *; "
    line += "print(*hash_blocks([5, 6, 7, 8], 2, extra_keys=[['salt']], root=root_of('demo')))"
    here = hash_blocks([5, 6, 7, 8], 2, extra_keys=[["salt"]], root=root_of("demo"))
    for seed in ("0", "1"):
        there = subprocess.run(
            [sys.executable, "-c", line], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        assert there.stdout.split() == [str(key) for key in here.tolist()]
