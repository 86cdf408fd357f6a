"""A remote store as a tier: real servers, those that fail, and what a request sees of it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from appliance.cache.errors import CacheError
from appliance.cache.tier import Tier
from appliance.keeper.budget import WriteBudget
from appliance.keeper.keeper import Keeper
from appliance.keeper.remote import operations, remote
from appliance.keeper.remote.breaker import FAILURES, FIRST_SECONDS, State
from appliance.keeper.remote.record import HEADER_BYTES, name_of
from appliance.keeper.remote.remote import Remote
from appliance.keeper.remote.stores import Limits, Store, StoreError, open_store
from tests.clock import Clock
from tests.unit.cache.arena.arenas import ROW_BYTES, keys
from tests.unit.keeper.keepers import bench, write_all
from tests.unit.keeper.servers import bad_server, redis_server, s3_server

LIMITS = Limits(timeout_seconds=5.0, connections=4)
SHORT = Limits(timeout_seconds=0.1, connections=4)
MANY = tuple(range(1, 7))
OTHERS = tuple(range(20, 28))


class Memory:
    """`Store`, in memory. `faults` are raised by the next calls, `of_put` by the next writes; `gate` holds all up."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.faults: list[StoreError] = []
        self.of_put: list[StoreError] = []
        self.gate: threading.Event | None = None
        self.asked = 0

    def get(self, names: Sequence[str]) -> list[bytes | None]:
        self._do()
        return [self.values.get(name) for name in names]

    def has(self, names: Sequence[str]) -> list[bool]:
        self._do()
        return [name in self.values for name in names]

    def put(self, name: str, value: bytes) -> None:
        self._do()
        if self.of_put:
            raise self.of_put.pop()
        self.values[name] = value

    def close(self) -> None:
        if self.gate is not None:
            self.gate.set()

    def _do(self) -> None:
        self.asked += 1
        if self.gate is not None:
            self.gate.wait(10)
        if self.faults:
            raise self.faults.pop()


def fill(store: Store) -> None:
    for number in range(2000):
        store.put(f"filler/{number}", bytes(ROW_BYTES))


class Far:
    """A keeper without a disk, above this store."""

    def __init__(
        self, folder: Path, store: Store, limits: Limits = LIMITS, budget: int = 0, arena_rows: int = 8
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.bench = bench(folder, arena_rows=arena_rows)
        self.clock = Clock()
        self.remote = Remote(self.bench.near, store, limits, self.clock, lambda: 1000.0)
        self.keeper = Keeper(self.bench.near, None, None, self.remote, WriteBudget(budget, lambda: 0.0))

    async def write_all(self) -> int:
        return await write_all(self.keeper.to_remote)

    async def brought(self, *numbers: int) -> bytes:
        return b"".join([part async for part in self.keeper.promote(keys(*numbers).tobytes())])

    async def kept(self, *numbers: int) -> None:
        """In the store, and in the arena no more."""
        self.bench.store(*numbers)
        await self.write_all()
        self.bench.engine.flush()

    def close(self) -> None:
        self.bench.check()
        self.remote.close()
        self.bench.keeper.close()


@pytest.fixture(scope="module", params=["redis", "s3", "folder"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "folder":
            yield f"file://{folder}"
            return
        with redis_server(folder) if request.param == "redis" else s3_server() as server:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            yield server.url


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
async def far(tmp_path: Path, memory: Memory) -> AsyncIterator[Far]:
    far = Far(tmp_path, memory)
    yield far
    far.close()


async def test_what_a_real_store_was_given_comes_back_bit_for_bit_to_a_box_that_has_nothing(
    tmp_path: Path, url: str
) -> None:
    one = Far(tmp_path / "one", open_store(url, LIMITS), arena_rows=24)
    one.bench.store(*MANY, priority=70)
    assert await one.write_all() == len(MANY)
    one.close()
    two = Far(tmp_path / "two", open_store(url, LIMITS), arena_rows=24)
    assert await two.brought(*MANY, 99) == bytes([Tier.REMOTE] * len(MANY))
    assert [two.bench.content(number) for number in MANY] == list(MANY)
    before, worth = two.bench.engine.facts(two.bench.engine.rows_of(keys(*MANY)))
    assert worth.priorities.tolist() == [70] * len(MANY)
    assert before[1:].tolist() == keys(*MANY[:-1]).tolist()
    assert (two.remote.counts.promoted, two.remote.counts.bad) == (len(MANY), 0)
    two.close()


async def test_a_real_store_says_what_it_has_and_what_not(url: str) -> None:
    store = open_store(url, LIMITS)
    await asyncio.to_thread(store.put, "there/1", b"\x00\xffx" * 1000)
    assert [None if one is None else bytes(memoryview(one)) for one in store.get(["there/1", "not/2"])] == [
        b"\x00\xffx" * 1000,
        None,
    ]
    assert store.has(["not/2", "there/1"]) == [False, True]
    store.close()


async def test_blocks_of_another_identity_are_not_found(tmp_path: Path, memory: Memory) -> None:
    one = Far(tmp_path / "one", memory)
    await one.kept(*MANY)
    one.close()
    two = Far(tmp_path / "two", memory)
    two.remote._identity = b"another model, or configuration."
    assert await two.brought(*MANY) == b""
    renamed = {name_of(two.remote._identity, key): memory.values[name_of(bytes(32), key)] for key in keys(*MANY)}
    memory.values |= renamed
    assert await two.brought(*MANY) == b"", "nor under a name that is theirs"
    assert two.remote.counts.bad == 2
    two.close()


@pytest.mark.parametrize("place", [0, 40, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + ROW_BYTES - 1])
async def test_a_flipped_byte_is_a_miss_and_counted(far: Far, memory: Memory, place: int) -> None:
    await far.kept(*MANY)
    name = name_of(bytes(32), keys(2)[0])
    memory.values[name] = bytes(byte ^ (1 << 3) * (at == place) for at, byte in enumerate(memory.values[name]))
    assert await far.brought(*MANY) == bytes([Tier.REMOTE])
    assert [far.bench.content(number) for number in (1, 2)] == [1, None]
    assert far.remote.counts.bad == 1


async def test_what_was_cut_off_is_a_miss(far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    for number, size in ((1, 0), (2, HEADER_BYTES)):
        name = name_of(bytes(32), keys(number)[0])
        memory.values[name] = memory.values[name][:size]
    assert await far.brought(*MANY) == b""
    assert far.remote.counts.bad == 2


async def test_a_prompt_of_which_it_has_nothing_costs_one_question_and_a_short_rest_none(
    far: Far, memory: Memory
) -> None:
    await far.brought(*range(100, 140))
    assert memory.asked == 2, "two blocks, in a thread each"
    await far.brought(101, 102, 103)
    assert memory.asked == 2
    assert far.bench.engine.stats.evicted == 0, "no row was taken for what did not come"


async def test_what_it_has_already_is_not_written_again(tmp_path: Path, far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    first = dict(memory.values)
    memory.values = {name: value + b"!" for name, value in first.items()}
    other = Far(tmp_path / "other", memory)
    other.bench.store(*MANY)
    assert await other.write_all() == 0
    other.close()
    asked = memory.asked
    far.bench.store(*MANY)
    assert await far.write_all() == 0
    assert memory.asked == asked, "it is known"


async def test_what_it_dropped_meanwhile_is_written_again_once_that_was_noticed(far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    memory.values.clear()
    assert await far.brought(*MANY) == b""
    far.bench.store(*MANY)
    assert await far.write_all() == 2, "the two that were asked for"


async def test_the_budget_of_the_day_ends_writing(tmp_path: Path, memory: Memory) -> None:
    far = Far(tmp_path, memory, budget=2 * (HEADER_BYTES + ROW_BYTES))
    far.bench.store(*MANY)
    assert await far.write_all() == 2
    assert far.keeper.stats.remote is not None
    assert far.keeper.stats.remote.writing.dropped_budget == len(MANY) - 2
    far.close()


async def test_the_disk_goes_first_and_what_it_lacks_comes_from_the_store(tmp_path: Path, memory: Memory) -> None:
    one = bench(tmp_path)
    far = Remote(one.near, memory, LIMITS)
    both = Keeper(one.near, one.disk, None, far, None)
    one.store(1, 2, 3, 4, 5, 6, 7, 8)
    assert await write_all(both.to_remote) == 8
    one.engine.flush()
    one.store(1, 2, 3)
    assert await write_all(both.to_disk) == 3
    one.engine.flush()
    one.store(1)
    parts = [part async for part in both.promote(keys(*range(1, 9)).tobytes())]
    assert b"".join(parts) == bytes([Tier.HOST, Tier.DISK, Tier.DISK, *[Tier.REMOTE] * 5])
    assert await write_all(both.to_disk) == 5, "what came from the store is on the disk again"
    assert await write_all(both.to_remote) == 0
    assert [one.content(number) for number in range(1, 9)] == list(range(1, 9))
    one.check()
    far.close()
    one.keeper.close()


async def test_the_same_prompt_asked_for_twice_at_once_is_fetched_once(far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    told = await asyncio.gather(far.brought(*MANY), far.brought(*MANY))
    assert list(told) == [bytes([Tier.REMOTE] * len(MANY))] * 2
    assert far.remote.counts.promoted == len(MANY)


async def test_after_failures_it_rests_and_is_tried_again(far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    memory.faults = [StoreError("no")] * 2 * FAILURES
    for _ in range(FAILURES):
        assert await far.brought(*MANY) == b""
    asked = memory.asked
    assert await far.brought(*MANY) == b""
    assert (far.remote.counts.reading, memory.asked) == (State.OPEN, asked)
    assert far.remote.counts.writing == State.CLOSED
    memory.faults.clear()
    far.clock.seconds += FIRST_SECONDS
    assert await far.brought(*MANY) == bytes([Tier.REMOTE] * len(MANY))
    assert (far.remote.counts.reading, far.remote.counts.failures) == (State.CLOSED, FAILURES)


async def test_what_it_does_not_take_is_counted_and_what_waits_stays_in_the_queue_while_it_rests(
    far: Far, memory: Memory
) -> None:
    writing = far.keeper.to_remote
    assert writing is not None
    memory.of_put = [StoreError("full")] * 100
    far.bench.store(*MANY)
    writing.follow()
    for _ in range(10):
        await writing.write_batch()
    assert (far.remote.counts.writing, far.remote.counts.write_errors) == (State.OPEN, FAILURES)
    assert writing.num_queued == len(MANY) - FAILURES
    memory.of_put.clear()
    far.clock.seconds += FIRST_SECONDS
    assert await far.write_all() == len(MANY) - FAILURES


async def test_a_store_that_hangs_holds_up_no_prompt_and_no_row(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.05)
    far = Far(tmp_path, memory, SHORT)
    await far.kept(*MANY)
    memory.gate = threading.Event()
    began = time.monotonic()
    assert list(await asyncio.gather(*(far.brought(number, *MANY[1:]) for number in range(1, 9)))) == [b""] * 8
    assert time.monotonic() - began < 2
    assert far.remote.counts.busy + far.remote.counts.late > 0
    assert memory.asked <= 2 * operations.MOST + 2 * len(MANY)
    far.bench.store(*OTHERS)
    assert far.keeper.to_remote is not None
    far.keeper.to_remote.follow()
    assert await asyncio.wait_for(far.keeper.to_remote.write_batch(), 2) == 0
    assert far.bench.engine.stats.held == 0
    memory.gate.set()
    far.close()


async def test_a_row_that_changes_after_the_time_limit_is_not_what_is_written(tmp_path: Path, memory: Memory) -> None:
    far = Far(tmp_path, memory, SHORT)
    far.bench.store(*MANY[:1])
    writing = far.keeper.to_remote
    assert writing is not None
    writing.follow()
    await writing.write_batch()
    written = memory.values[name_of(bytes(32), keys(1)[0])]
    rows = np.frombuffer(far.bench.near.memory, np.uint8)
    rows[:] = 0xEE
    assert written[HEADER_BYTES:] == bytes([1]) * ROW_BYTES
    far.close()


async def test_without_a_server_nothing_is_found_and_nothing_is_lost(tmp_path: Path) -> None:
    far = Far(tmp_path, open_store("redis://127.0.0.1:9/0", SHORT), SHORT)
    far.bench.store(*MANY)
    assert await far.brought(*range(40, 60)) == b""
    assert far.remote.counts.failures == 1
    far.close()


@pytest.mark.parametrize("answer", [None, b"garbage\r\n", b"$5\r\nhel", b"*2\r\n$-1\r\n:7\r\n", b"\x00" * 4096])
async def test_what_is_no_answer_is_a_miss_within_the_time_limit(tmp_path: Path, answer: bytes | None) -> None:
    with bad_server(answer) as url:
        far = Far(tmp_path, open_store(url, SHORT), SHORT)
        async with asyncio.timeout(5):
            assert await far.brought(*range(40, 60)) == b""
        assert far.remote.counts.failures + far.remote.counts.bad > 0
        far.close()


async def test_a_server_that_stops_answering_and_one_that_dies_are_misses_and_one_that_comes_back_serves(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as server:
        far = Far(tmp_path, open_store(server.url, SHORT), SHORT)
        await far.kept(*MANY)
        os.kill(server.process.pid, signal.SIGSTOP)
        assert await far.brought(*MANY) == b""
        os.kill(server.process.pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            while await far.brought(*MANY) != bytes([Tier.REMOTE] * len(MANY)):
                far.clock.seconds += FIRST_SECONDS
        far.bench.engine.flush()
    assert await far.brought(*MANY) == b""
    far.close()


async def test_a_server_that_is_full_costs_blocks_and_still_gives_what_it_has(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server:
        store = open_store(server.url, LIMITS)
        far = Far(tmp_path, store)
        await far.kept(*MANY)
        with pytest.raises(StoreError, match="maxmemory"):
            fill(store)
        far.bench.store(*OTHERS)
        far.clock.seconds = 0.0
        writing = far.keeper.to_remote
        assert writing is not None
        writing.follow()
        for _ in range(2 * FAILURES):
            await writing.write_batch()
        assert (far.remote.counts.write_errors, far.remote.counts.writing) == (FAILURES, State.OPEN)
        assert await far.brought(*MANY) == bytes([Tier.REMOTE] * len(MANY))
        far.close()


async def test_a_folder_that_is_not_mounted_is_not_made_and_is_found_when_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    far = Far(tmp_path, open_store(f"file://{folder}", LIMITS))
    far.bench.store(*MANY)
    writing = far.keeper.to_remote
    assert writing is not None
    writing.follow()
    assert await writing.write_batch() == 0
    assert not folder.exists()
    folder.mkdir()
    assert await far.write_all() == len(MANY) - 1
    far.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("http://x", "begins with one of redis://"),
        ("redis://me:secret@host/0", "REDISCLI_AUTH"),
        ("s3:///prefix", "bucket"),
        ("file://nas/kv", "whole path"),
        ("nothing", "begins with one of"),
    ],
)
def test_an_address_that_means_no_store_is_refused(wrong: str, reason: str) -> None:
    with pytest.raises(CacheError, match=reason):
        open_store(wrong, LIMITS)


async def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server(tmp_path, "--requirepass", "open sesame") as server:
        with pytest.raises(StoreError, match=r"[Aa]uth"):
            open_store(server.url, LIMITS).has(["a"])
        monkeypatch.setenv("REDISCLI_AUTH", "open sesame")
        assert open_store(server.url, LIMITS).has(["a"]) == [False]


async def test_who_is_cancelled_leaves_no_row_held(far: Far, memory: Memory) -> None:
    await far.kept(*MANY)
    for turns in range(6):
        reading = asyncio.create_task(far.brought(*MANY))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        far.bench.engine.check_integrity()
    async with asyncio.timeout(5):
        while far.remote.reads._under_way:
            await asyncio.sleep(0)
    assert far.bench.engine.stats.held == 0
    assert await far.brought(*MANY) == bytes([Tier.REMOTE] * len(MANY))
