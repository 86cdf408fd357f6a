"""The keeper's work: both directions between the arena and the tiers below, and what it tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

import numpy as np

from appliance.cache.arena.tables import KEY_WORDS, short_hashes
from appliance.keeper.budget import WriteBudget
from appliance.keeper.disk import Disk
from appliance.keeper.promotion import Promotions
from appliance.keeper.remote.remote import Remote
from appliance.keeper.tiers import Near
from appliance.keeper.upkeep import Upkeep
from appliance.keeper.wire import DiskStats, KeeperStats, Mapped, Moved, RemoteStats
from appliance.keeper.write_through import MAX_QUEUED, WriteThrough

MOVED_AT_ONCE: Final = 512


class Keeper:
    """Of one arena and what is below it; to be used in one loop."""

    def __init__(
        self,
        near: Near,
        disk: Disk | None = None,
        disk_budget: WriteBudget | None = None,
        remote: Remote | None = None,
        remote_budget: WriteBudget | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        """Without a budget all is written."""
        self.disk, self.remote = disk, remote
        self.to_disk = WriteThrough(near, disk, disk_budget or WriteBudget(0), max_queued) if disk else None
        self.to_remote = WriteThrough(near, remote, remote_budget or WriteBudget(0), max_queued) if remote else None
        self.promotions = Promotions(near, disk, remote)
        self.upkeep = Upkeep(disk)
        self._near = near

    async def run(self) -> None:
        """Write through, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self.disk is not None:
                tasks.create_task(self.disk.keep_uses())
            for writing in (self.to_disk, self.to_remote):
                if writing is not None:
                    tasks.create_task(writing.run())

    def promote(self, keys: bytes, seconds: float = 1.0) -> AsyncIterator[bytes]:
        """See `Promotions.promote`. What is no row of keys brings nothing."""
        whole = keys if len(keys) % (8 * KEY_WORDS) == 0 else b""
        return self.promotions.promote(np.frombuffer(whole, np.uint64).reshape(-1, KEY_WORDS), seconds)

    def moved(self) -> Iterator[Moved]:
        """What has moved on the disk since the last call, in parts that are soon read."""
        if self.disk is None:
            return
        told = self.disk.index.take_changes()
        hashes, is_stored = short_hashes(self._near.arena.block_hashes(told.keys)), told.is_stored.astype(np.uint8)
        if not told.is_whole:
            yield Moved(b"", b"", is_whole=False)
        for start in range(0, len(hashes), MOVED_AT_ONCE):
            part = slice(start, start + MOVED_AT_ONCE)
            yield Moved(hashes[part].tobytes(), is_stored[part].tobytes(), is_whole=True)

    def map(self, number: int, cells: int) -> Mapped:
        """The answer to the question of this number; of no rows without a disk."""
        if self.disk is None:
            return Mapped(number, 0, 1)
        index = self.disk.index
        found = index.map(cells)
        hashes = short_hashes(self._near.arena.block_hashes(index.keys_in(found.rows)))
        columns = (found.filled, found.held, hashes, found.priorities, found.ages_ms, found.reads)
        return Mapped(number, found.num_rows, found.per_cell, *(column.tobytes() for column in columns))

    @property
    def stats(self) -> KeeperStats:
        on_disk = far = None
        if self.disk is not None and self.to_disk is not None:
            on_disk = DiskStats(self.disk.counts, self.disk.index.stats, self.to_disk.stats)
        if self.remote is not None and self.to_remote is not None:
            far = RemoteStats(self.remote.counts, self.to_remote.stats)
        return KeeperStats(on_disk, far)

    def close(self) -> None:
        """When nothing is under way: whatever was, has been awaited."""
        for tier in (self.disk, self.remote):
            if tier is not None:
                tier.close()
        self._near.arena.close()
