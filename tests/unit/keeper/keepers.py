"""A keeper over a small arena and a small slab, in one folder; an engine beside it that stores and looks up."""

from __future__ import annotations

from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.tables import mapped
from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import Shape
from appliance.cache.slab.uses import load, uses_file, with_uses
from appliance.cache.tier import NO_TIER, Tier
from appliance.keeper.budget import WriteBudget
from appliance.keeper.disk import Disk
from appliance.keeper.keeper import Keeper
from appliance.keeper.tiers import Near
from appliance.keeper.wire import DiskStats
from appliance.keeper.write_through import WriteThrough
from tests.unit.cache.arena.arenas import ROW_BYTES, keys, opened, parents, worth

ARENA_ROWS, SLAB_ROWS = 8, 16


class Bench(NamedTuple):
    engine: ArenaIndex
    near: Near
    disk: Disk
    keeper: Keeper

    def store(self, *numbers: int, priority: int = 35, barred: Tier = NO_TIER) -> None:
        """As an engine does, blocks that come behind one another."""
        store(self.engine, self.near.memory, *numbers, priority=priority, barred=barred)

    def content(self, number: int) -> int | None:
        """What an engine reads of the block: its number, if it is the right one; `None` if it is not there."""
        return content(self.engine, self.near.memory, number)

    async def write_all(self) -> int:
        return await write_all(self.keeper.to_disk)

    async def promote(self, *numbers: int) -> int:
        """How many of them are in the arena now, one behind the other."""
        return len(await self.brought(*numbers))

    async def brought(self, *numbers: int) -> bytes:
        """Where each of these was before."""
        return b"".join([part async for part in self.keeper.promote(keys(*numbers).tobytes())])

    @property
    def stats(self) -> DiskStats:
        stats = self.keeper.stats.disk
        assert stats is not None
        return stats

    def check(self) -> None:
        self.engine.check_integrity()
        self.disk.index.check_integrity()
        assert self.engine.stats.held == self.disk.index.stats.held == 0


async def write_all(writing: WriteThrough | None) -> int:
    assert writing is not None
    writing.follow()
    total = 0
    while writing.num_queued:
        total += await writing.write_batch()
    return total


def store(engine: ArenaIndex, memory: mmap, *numbers: int, priority: int = 35, barred: Tier = NO_TIER) -> None:
    view = np.frombuffer(memory, np.uint8).reshape(-1, ROW_BYTES)
    wanted = keys(*numbers)
    rows = engine.begin_store(wanted)
    for number, row in zip(numbers, rows.tolist(), strict=True):
        if row >= 0:
            view[row] = number
    before = parents(None, *numbers[:-1])
    nowhere = np.full(len(numbers), barred.value, np.int64)
    engine.end_store(wanted, before, None, worth(len(numbers), priority), is_whole=True, barred=nowhere)


def content(engine: ArenaIndex, memory: mmap, number: int) -> int | None:
    row = int(engine.look_up(keys(number))[0])
    if row < 0:
        return None
    found = np.frombuffer(memory, np.uint8).reshape(-1, ROW_BYTES)[row]
    assert (found == found[0]).all()
    engine.release(np.array([row]))
    return int(found[0])


def bench(
    folder: Path, *, arena_rows: int = ARENA_ROWS, slab_rows: int = SLAB_ROWS, budget: int = 0, max_queued: int = 64
) -> Bench:
    """Another call with the same folder is another start of the keeper, once the first is closed."""
    engine = opened(folder, arena_rows, b"e" * 16)
    arena = opened(folder, arena_rows, b"k" * 16)
    slab = Slab.open(folder / "slab", Shape(slab_rows, ROW_BYTES, b"i" * 32))
    index = SlabIndex(slab_rows)
    index.restore(with_uses(slab.scan(), load(uses_file(slab.path))))
    near = Near(arena, mapped(arena.place.rows_file, arena_rows * ROW_BYTES))
    disk = Disk(near, slab, index, num_readers=4, num_writers=2)
    return Bench(engine, near, disk, Keeper(near, disk, WriteBudget(budget, lambda: 0.0), max_queued=max_queued))
