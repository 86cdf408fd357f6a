"""The keeper's work: both directions between arena and disk, and what it tells of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import KEY_WORDS, mapped
from appliance.cache.errors import CacheError
from appliance.cache.slab.file import Progress, Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import Records, Shape
from appliance.keeper.budget import WriteBudget
from appliance.keeper.promotion import Promotions
from appliance.keeper.tiers import Tiers
from appliance.keeper.upkeep import Upkeep
from appliance.keeper.wire import KeeperSettings, KeeperStats
from appliance.keeper.write_through import WriteThrough

READERS: Final = 16
WRITERS: Final = 4
"""Reads come first: a request waits for them."""
MAX_QUEUED: Final = 4096
INTERVAL_SECONDS: Final = 0.05


class Keeper:
    """Of one arena and one slab; to be used in one loop."""

    def __init__(self, tiers: Tiers, budget: WriteBudget, max_queued: int = MAX_QUEUED) -> None:
        self.writing = WriteThrough(tiers, budget, max_queued)
        self.promotions = Promotions(tiers)
        self.upkeep = Upkeep(tiers)
        self._tiers = tiers
        self._budget = budget

    async def run(self) -> None:
        """Write through, until cancelled."""
        while True:
            self.writing.follow()
            await self.writing.write_batch()
            await asyncio.sleep(0 if self.writing.num_queued else INTERVAL_SECONDS)

    def promote(self, keys: bytes) -> AsyncIterator[bytes]:
        """See `Promotions.promote`. What is no row of keys brings nothing."""
        whole = keys if len(keys) % (8 * KEY_WORDS) == 0 else b""
        return self.promotions.promote(np.frombuffer(whole, np.uint64).reshape(-1, KEY_WORDS))

    @property
    def stats(self) -> KeeperStats:
        slab, writing = self._tiers.slab, self.writing
        return KeeperStats(
            opened=slab.opened,
            is_direct=slab.is_direct,
            row_bytes=slab.shape.row_bytes,
            **self._tiers.index.stats._asdict(),
            queued=writing.num_queued,
            dropped_full=writing.dropped_full,
            dropped_budget=writing.dropped_budget,
            dropped_gone=writing.dropped_gone,
            write_errors=writing.errors,
            written_today=self._budget.spent,
            promoted=self.promotions.promoted,
            read_errors=self.promotions.errors,
        )

    def close(self) -> None:
        """When nothing is under way: whatever was, has been awaited."""
        self._tiers.readers.shutdown()
        self._tiers.writers.shutdown()
        self._tiers.arena.close()
        self._tiers.slab.close()


def open_keeper(settings: KeeperSettings, progress: Progress) -> Keeper:
    """Open the arena that is there and the slab that belongs to it, and rebuild the slab's index from its headers.

    Blocks for as long as that takes. Raises `CacheError` when there is no arena, or no room for the slab.
    """
    arena = ArenaIndex.open(ArenaPlace(Path(settings.arena_memory), Path(settings.arena_locks)))
    try:
        arena.join(os.urandom(16))
        slab = _open_slab(settings, arena)
    except BaseException:
        arena.close()
        raise
    index, budget = SlabIndex(slab.shape.num_rows), WriteBudget(settings.write_budget)
    records = slab.scan(progress)
    index.restore(records)
    budget.spend(_written_since(records, budget.day_began_ms) * slab.shape.stride)
    memory = mapped(arena.place.rows_file, arena.geometry.num_rows * arena.geometry.row_bytes)
    readers, writers = ThreadPoolExecutor(READERS, "read"), ThreadPoolExecutor(WRITERS, "write")
    return Keeper(Tiers(arena, memory, slab, index, readers, writers), budget)


def _open_slab(settings: KeeperSettings, arena: ArenaIndex) -> Slab:
    path, row_bytes = Path(settings.path), arena.geometry.row_bytes
    num_rows = Shape.rows_in(settings.num_bytes, row_bytes)
    if not num_rows:
        raise CacheError(f"{path}: {settings.num_bytes} bytes have no room for a block of {row_bytes}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{path}: its folder cannot be made: {error.strerror}") from error
    return Slab.open(path, Shape(num_rows, row_bytes, arena.namespace))


def _written_since(records: Records, wall_ms: int) -> int:
    """Rows that still hold what was written since then: the least that this day's writes can have been."""
    return int((records["last_use_ms"] >= wall_ms).sum())
