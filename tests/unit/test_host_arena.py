from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import KEY_WORDS
from appliance.conversation import Hints
from appliance.errors import StartError
from appliance.host_arena import HostArena, arena_place
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.shared_tier import SharedTier
from appliance.session_forecast import SessionForecast
from tests.clock import Clock
from tests.unit.cache.arena.arenas import ROW_BYTES, opened, parents, worth
from tests.unit.router.test_mirror import BLOCK_TOKENS, apply, stored

HASHES = [bytes([number]) * 24 + number.to_bytes(8, "big") for number in (7, 8, 9)]
"""As vLLM hashes blocks; their last eight bytes are what its events say."""
NAMESPACE = np.array([5, 6, 7, 8], np.uint64)
TOKENS = list(range(3 * BLOCK_TOKENS))


def words(hashes: list[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, KEY_WORDS) ^ NAMESPACE


class Box:
    """An arena that an engine has made, and the box that looks at it."""

    def __init__(self, folder: Path, *, is_pinned: bool = False) -> None:
        self.index = PrefixIndex()
        self.mirrors = [WorkerMirror(worker, self.index, BLOCK_TOKENS) for worker in range(2)]
        self.clock = Clock()
        self.forecast = SessionForecast(clock=self.clock)
        place = ArenaPlace(folder / "memory", folder / "locks")
        tier = SharedTier(self.index, Tier.HOST, self.mirrors)
        self.arena = HostArena(place, tier, self.forecast, is_pinned=is_pinned)
        self.engine: ArenaIndex = opened(folder, 4)
        self.engine.set_namespace(NAMESPACE)
        self.arena.open()

    def compute(self) -> None:
        """On worker 0, which tells of it and stores it."""
        apply(self.mirrors[0], stored([7, 8, 9], TOKENS))
        self.store(HASHES)

    def store(self, hashes: list[bytes]) -> None:
        keys = words(hashes)
        self.engine.begin_store(keys)
        before = parents(*[None] * len(hashes))
        self.engine.end_store(keys, before, "s", worth(len(hashes)), is_whole=True)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_what_an_engine_stored_is_in_reach_of_every_worker(box: Box) -> None:
    box.compute()
    box.arena.tell()
    assert len(box.arena.tier) == 3
    assert [box.index.num_blocks(worker, Tier.HOST) for worker in range(2)] == [3, 3]


def test_what_had_to_go_is_in_reach_of_none(box: Box) -> None:
    box.compute()
    box.arena.tell()
    box.store([bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32])
    box.arena.tell()
    assert [box.index.num_blocks(worker, Tier.HOST) for worker in range(2)] == [1, 1]


def test_tending_takes_back_what_the_dead_held(box: Box) -> None:
    box.engine.begin_store(words(HASHES))
    box.engine.close()
    box.arena.tend()
    assert box.arena.stats is not None
    assert box.arena.stats.reaped_rows == 3


def priorities(box: Box) -> list[int]:
    core = box.engine._core
    return sorted(core.priorities(np.flatnonzero(core._tables.blocks["has_content"])).tolist())


def test_a_session_that_the_forecast_forgets_is_worth_nothing(box: Box) -> None:
    box.compute()
    box.forecast.arrived("s")
    box.forecast.ended("s", "stop", Hints())
    box.arena.tend()
    assert priorities(box) == [35, 35, 35]
    box.forecast.forget("s")
    box.arena.tend()
    assert priorities(box) == [0, 0, 0]
    box.engine.check_integrity()


def test_a_session_that_was_forgotten_and_came_again_is_worth_something(box: Box) -> None:
    box.compute()
    box.forecast.arrived("s")
    box.forecast.ended("s", "stop", Hints())
    box.arena.tend()
    box.forecast.forget("s")
    box.forecast.arrived("s")
    box.arena.tend()
    assert priorities(box) == [35, 35, 35]


def test_what_is_flushed_is_gone_from_arena_and_index_but_for_what_is_held(box: Box) -> None:
    box.compute()
    rows = box.engine.look_up(words(HASHES[:1]))
    box.arena.tell()
    assert box.arena.blocks_of(["s", "unknown"]) == {"s": 3}
    assert box.arena.flush() == 2
    assert [box.index.num_blocks(worker, Tier.HOST) for worker in range(2)] == [1, 1]
    box.engine.release(rows)
    box.engine.check_integrity()
    assert box.arena.flush() == 1
    assert box.arena.blocks_of(["s"]) == {}
    box.store(HASHES)
    box.engine.check_integrity()


async def test_the_arena_ends_with_its_box_and_starts_empty_with_the_next(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.compute()
    await box.arena.stop()
    assert not box.arena.place.index_file.exists()
    assert box.arena.stats is None
    box.arena.tell()
    box.arena.tend()
    assert Box(tmp_path).engine.stats.used == 0


async def test_what_a_killed_box_left_is_removed_by_the_next(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.compute()
    assert Box(tmp_path).engine.stats.used == 0


def test_a_box_in_another_folder_has_another_arena(tmp_path: Path) -> None:
    one, other = (arena_place(tmp_path, tmp_path / name, 4096) for name in ("one", "other"))
    assert one.memory != other.memory
    assert one == arena_place(tmp_path, tmp_path / "one", 4096)


async def test_a_smaller_arena_gives_its_memory_back_and_a_larger_one_takes_it_again(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.compute()
    box.arena.tell()
    assert await box.arena.resize(2 * ROW_BYTES) is None
    box.arena.tell()
    stats = box.arena.stats
    assert stats is not None
    assert (stats.rows, stats.used, stats.held) == (2, 2, 0)
    assert box.index.num_blocks(0, Tier.HOST) == 2, "the router was told"
    rows = box.arena.place.rows_file
    assert rows.stat().st_blocks * 512 == 2 * ROW_BYTES
    assert await box.arena.resize(3 * ROW_BYTES + 1) is None
    assert rows.stat().st_blocks * 512 == 3 * ROW_BYTES
    box.engine.check_integrity()
    box.engine.flush()
    box.store(HASHES)
    assert (box.engine.stats.rows, box.engine.stats.used) == (3, 3)


async def test_what_a_resize_cannot_do_is_said(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.store(HASHES)
    rows = box.engine.look_up(words(HASHES))
    assert await box.arena.resize(ROW_BYTES) == "2 more blocks are in use just now; ask again later"
    box.engine.release(rows)
    assert await box.arena.resize(0) is None
    assert (await box.arena.resize(2**20) or "").startswith("it was started with 0.00 GiB and cannot be larger")
    stats = box.arena.stats
    assert stats is not None
    assert stats.rows == 4
    unopened = HostArena(ArenaPlace(tmp_path / "m", tmp_path / "l"), SharedTier(PrefixIndex(), Tier.HOST, []))
    assert await unopened.resize(ROW_BYTES) == "no engine has made it yet"


async def test_memory_that_a_gpu_has_pinned_stays_and_is_not_asked_for_again(tmp_path: Path) -> None:
    box = Box(tmp_path, is_pinned=True)
    assert "pinned" in (await box.arena.resize(ROW_BYTES) or "")
    assert box.arena.place.rows_file.stat().st_blocks * 512 == 4 * ROW_BYTES
    assert await box.arena.resize(4 * ROW_BYTES) is None


async def test_an_arena_that_finds_no_memory_stays_as_large_as_it_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    box = Box(tmp_path)
    await box.arena.resize(ROW_BYTES)
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert await box.arena.resize(4 * ROW_BYTES) == "there is no memory for 3 more blocks: No space left on device"
    stats = box.arena.stats
    assert stats is not None
    assert stats.rows == 1


def test_an_arena_of_more_memory_than_there_is_is_refused_before_any_engine_starts(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cache\.host\.bytes is 1048576\.0 GiB"):
        arena_place(tmp_path, tmp_path / "run", 2**50)
