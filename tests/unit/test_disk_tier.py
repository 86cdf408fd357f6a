"""The box's hold on a real keeper, over a small arena."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from appliance import disk_tier as module
from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import mapped, short_hashes
from appliance.cache.ledger import Source, TokenRange
from appliance.cache.slab.layout import Shape
from appliance.disk_tier import DiskTier
from appliance.host_arena import HostArena
from appliance.keeper.wire import Counted, DiskPlace, KeeperSettings, RemotePlace
from appliance.restarts import RestartBudget
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.shared_tier import SharedTier
from appliance.status_views import disk_view, remote_view
from tests.unit.cache.arena.arenas import ROW_BYTES, keys, opened
from tests.unit.keeper.keepers import content, store
from tests.unit.router.test_mirror import BLOCK_TOKENS, apply, stored

ROWS, SECONDS = 8, 30.0


class Box:
    def __init__(self, folder: Path, path: Path | None, restarts: int = 5, store: Path | None = None) -> None:
        place = ArenaPlace(folder / "memory", folder / "locks")
        self.arena = HostArena(place, SharedTier(PrefixIndex(), Tier.HOST, []))
        self.engine: ArenaIndex = opened(folder, ROWS, b"e" * 16)
        self.arena.open()
        self.memory = mapped(place.rows_file, ROWS * ROW_BYTES)
        disk = DiskPlace(str(path), 2**20) if path is not None else None
        remote = RemotePlace(f"file://{store}", timeout_seconds=5.0, connections=4) if store is not None else None
        settings = KeeperSettings(str(place.memory), str(place.locks), disk, remote)
        self.index = PrefixIndex()
        self.mirror = WorkerMirror(0, self.index, BLOCK_TOKENS)
        self.tier = SharedTier(self.index, Tier.DISK, [self.mirror])
        self.disk = DiskTier(settings, self.arena, RestartBudget(restarts, 600, 0.01, 0.01), self.tier)

    def store(self, *numbers: int) -> None:
        store(self.engine, self.memory, *numbers)

    def contents(self, *numbers: int) -> list[int | None]:
        return [content(self.engine, self.memory, number) for number in numbers]

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while (disk := self.disk.on_disk) is None or disk.slab.used < count or disk.writing.queued:
                await asyncio.sleep(0.01)

    async def gone_and_back(self) -> None:
        async with asyncio.timeout(SECONDS):
            while self.disk.stats is None:
                await asyncio.sleep(0.01)

    async def gone(self) -> None:
        async with asyncio.timeout(SECONDS):
            while self.disk.pid is not None:
                await asyncio.sleep(0.01)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(tmp_path, tmp_path / "slab")
    box.disk.start()
    yield box
    await box.disk.stop()


async def test_a_prompt_that_only_the_disk_has_is_there_when_the_wait_is_over(box: Box) -> None:
    box.store(1, 2, 3)
    await box.holds(3)
    box.store(*range(10, 18))
    await box.holds(11)
    assert box.contents(1, 2, 3) == [None] * 3
    brought = await box.disk.recall(keys(1, 2, 3))
    assert brought.ranges(16) == (TokenRange(0, 48, Source.DISK),)
    assert box.contents(1, 2, 3) == [1, 2, 3]
    assert (box.disk.asked, box.disk.late) == (1, 0)


async def test_without_a_disk_prompts_come_from_the_remote_store(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    box = Box(tmp_path, None, store=far)
    box.disk.start()
    numbers = tuple(range(1, 7))
    box.store(*numbers)
    async with asyncio.timeout(SECONDS):
        while (view := remote_view(box.disk)) is None or view.written < len(numbers):
            await asyncio.sleep(0.01)
    assert disk_view(box.disk) is None
    assert not box.disk.is_empty
    box.engine.flush()
    brought = await box.disk.recall(keys(*numbers))
    assert brought.ranges(16) == (TokenRange(0, 96, Source.REMOTE),)
    assert box.contents(*numbers) == list(numbers)
    await box.disk.stop()
    assert box.disk.is_empty


async def test_the_router_counts_on_what_is_on_the_disk_until_it_is_gone(box: Box) -> None:
    hashes = [int(one) for one in short_hashes(keys(1, 2, 3))]
    tokens = list(range(3 * BLOCK_TOKENS))
    apply(box.mirror, stored(hashes, tokens))
    box.store(1, 2, 3)
    await box.holds(3)
    async with asyncio.timeout(SECONDS):
        while len(box.tier) < 3:
            await asyncio.sleep(0.01)
    assert box.index.num_blocks(0, Tier.DISK) == 3
    box.mirror.reset(engine_is_empty=True)
    box.tier.refresh()
    depths = box.index.match(hash_blocks(tokens, BLOCK_TOKENS))[0].tolist()
    assert depths == [0, 0, 3, 3], "by tier, or a faster one"
    await box.disk.flush()
    async with asyncio.timeout(SECONDS):
        while len(box.tier):
            await asyncio.sleep(0.01)
    assert box.index.num_blocks(0, Tier.DISK) == 0


async def test_the_status_tells_what_the_keeper_counts(box: Box) -> None:
    box.store(1, 2)
    await box.holds(2)
    view = disk_view(box.disk)
    assert view is not None
    assert (view.used, view.written, view.pid, view.row_bytes) == (2, 2, box.disk.pid, ROW_BYTES)
    assert view.bytes == view.rows * ROW_BYTES
    assert remote_view(box.disk) is None


async def test_nobody_is_asked_for_what_the_arena_holds(box: Box) -> None:
    box.store(1, 2)
    await box.holds(2)
    await box.disk.recall(keys(1, 2))
    await box.disk.recall(np.empty((0, 4), np.uint64))
    assert box.disk.asked == 0


async def test_a_keeper_that_does_not_answer_is_not_waited_for(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECALL_SECONDS", 0.05)
    box.store(1)
    await box.holds(1)
    assert box.disk.pid is not None
    os.kill(box.disk.pid, signal.SIGSTOP)
    for number in range(5, 5 + 2 * module.MAX_OVERDUE):
        await box.disk.recall(keys(number))
    assert box.disk.late == box.disk.asked == module.MAX_OVERDUE, "after these nobody waits any more"
    os.kill(box.disk.pid, signal.SIGCONT)
    monkeypatch.setattr(module, "RECALL_SECONDS", SECONDS)
    async with asyncio.timeout(SECONDS):
        while box.disk.asked == module.MAX_OVERDUE:
            await asyncio.sleep(0.01)
            await box.disk.recall(keys(99))
    assert box.disk.late == module.MAX_OVERDUE, "it answers again"


async def test_the_disk_is_waited_for_as_long_as_computing_would_take(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECALL_SECONDS", 0.0)
    box.store(1)
    await box.holds(1)
    box.store(*range(10, 18))
    await box.holds(9)
    await box.disk.recall(keys(1), SECONDS)
    assert (box.contents(1), box.disk.late) == ([1], 0)


async def test_who_waits_when_the_keeper_dies_goes_on_at_once_and_the_next_keeper_serves(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECALL_SECONDS", SECONDS)
    box.store(1)
    await box.holds(1)
    box.store(*range(10, 18))
    await box.holds(9)
    first = box.disk.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    waiting = asyncio.create_task(box.disk.recall(keys(1)))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    await asyncio.wait_for(waiting, SECONDS / 2)
    box.arena.tend()
    await box.holds(9)
    assert box.disk.pid != first
    assert not psutil.pid_exists(first)
    assert box.disk.restarts.total == 1
    await box.disk.recall(keys(1))
    assert box.contents(1) == [1]


async def test_a_slab_is_made_larger_and_smaller_while_the_box_runs(box: Box) -> None:
    box.store(1, 2, 3)
    await box.holds(3)
    before = box.disk.on_disk
    assert before is not None
    assert await box.disk.resize(2**19) is None
    after = box.disk.on_disk
    assert after is not None
    assert after.slab.rows == Shape.rows_in(2**19, ROW_BYTES) < before.slab.rows
    assert after.slab.used == 3
    assert await box.disk.resize(2**21) is None
    assert box.disk.restarts.total == 0, "nothing has gone wrong"
    box.store(*range(10, 18))
    await box.holds(11)
    await box.disk.recall(keys(1, 2, 3))
    assert box.contents(1, 2, 3) == [1, 2, 3]


async def test_a_slab_for_which_there_is_no_room_keeps_its_size(box: Box, tmp_path: Path) -> None:
    await box.holds(0)
    pid = box.disk.pid
    assert "no room for a block" in (await box.disk.resize(5000) or "")
    assert "free beside it" in (await box.disk.resize(2**60) or "")
    assert box.disk.pid == pid


async def test_a_keeper_that_cannot_open_the_new_size_goes_on_with_the_old_one(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    await box.holds(0)
    before = box.disk.on_disk
    monkeypatch.setattr(module, "_lack_of_room", lambda *_: None)
    assert "old size" in (await box.disk.resize(5000) or "")
    await box.gone_and_back()
    after = box.disk.on_disk
    assert before is not None
    assert after is not None
    assert after.slab.rows == before.slab.rows


async def test_operators_are_told_what_was_checked_and_what_was_dropped(box: Box) -> None:
    box.store(1, 2, 3)
    await box.holds(3)
    assert await box.disk.verify() == Counted(0, 3, 0)
    assert await box.disk.flush() == Counted(1, 3, 0)
    assert await box.disk.verify() == Counted(2, 0, 0)


async def test_the_map_of_the_disk_is_the_keepers_and_tells_which_block_is_in_a_row(box: Box) -> None:
    box.store(1, 2, 3)
    await box.holds(3)
    box.store(*range(10, 18))
    await box.holds(11)
    await box.disk.recall(keys(1, 2))
    told, few = await asyncio.gather(box.disk.map(100_000), box.disk.map(2))
    assert told is not None
    assert few is not None
    filled, hashes = np.frombuffer(told.filled, np.int32), np.frombuffer(told.hashes, np.uint64)
    assert (len(filled), told.per_cell, int(filled.sum())) == (told.num_rows, 1, 11)
    reads = dict(zip(hashes.tolist(), np.frombuffer(told.reads, np.uint32).tolist(), strict=True))
    assert {
        one: reads[int(name)] for one, name in zip((1, 2, 3, 10), short_hashes(keys(1, 2, 3, 10)), strict=True)
    } == {
        1: 1,
        2: 1,
        3: 0,
        10: 0,
    }
    assert np.frombuffer(few.filled, np.int32).sum() == 11
    assert len(few.filled) == 8


async def test_without_a_keeper_operators_are_told_so(tmp_path: Path) -> None:
    box = Box(tmp_path, tmp_path / "slab")
    assert await box.disk.verify() is None
    assert await box.disk.flush() is None
    assert await box.disk.map(8) is None


async def test_the_keeper_ends_with_the_box_and_is_reaped(tmp_path: Path) -> None:
    box = Box(tmp_path, tmp_path / "slab")
    box.disk.start()
    await box.holds(0)
    pid = box.disk.pid
    assert pid is not None
    await box.disk.stop()
    await box.disk.stop()
    assert not psutil.pid_exists(pid)
    assert box.disk.pid is None


async def test_a_keeper_that_cannot_start_leaves_a_box_without_a_disk_tier(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    box = Box(tmp_path, tmp_path / "file" / "slab", restarts=1)
    box.disk.start()
    async with asyncio.timeout(SECONDS):
        while "the disk tier is off" not in caplog.text:
            await asyncio.sleep(0.01)
    await box.disk.recall(keys(1))
    assert box.disk.is_empty
    await box.disk.stop()
