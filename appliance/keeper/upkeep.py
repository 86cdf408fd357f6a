"""What operators ask of a slab: to check all of it, and to drop all of it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import partial
from typing import Final

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import Keys
from appliance.cache.slab.file import Progress
from appliance.cache.slab.index import SlabIndex
from appliance.keeper.disk import Disk
from appliance.keeper.tiers import all_of

BATCH: Final = 16
"""Blocks at a time: requests that want others are served in between."""


class Upkeep:
    """Without a disk there is nothing to check or to drop."""

    def __init__(self, disk: Disk | None) -> None:
        self._disk = disk

    async def verify(self, progress: Progress = lambda _seen, _all: None) -> tuple[int, int]:
        """Read every block that is there: how many were read, and how many were not what they should be, which are
        dropped."""
        if (disk := self._disk) is None:
            return 0, 0
        slab, index = disk.slab, disk.index
        scratch = [mmap.mmap(-1, slab.shape.row_bytes) for _ in range(BATCH)]
        seen = bad = 0
        for asked in _batches(index):
            rows = index.lease(asked)
            keys, rows = asked[rows != MISS], rows[rows != MISS]
            calls = [
                partial(slab.read, row, key, into) for row, key, into in zip(rows.tolist(), keys, scratch, strict=False)
            ]
            answers = await all_of(disk.readers, calls)
            wrong = [row for row, answer in zip(rows.tolist(), answers, strict=True) if answer is not True]
            for row in wrong:
                index.drop(row)
            await all_of(disk.writers, [partial(slab.erase, row) for row in wrong])
            index.release(rows)
            seen, bad = seen + len(rows), bad + len(wrong)
            progress(seen, index.stats.used)
        return seen, bad

    async def flush(self) -> int:
        """Drop every block that is there now, also for the next start; how many."""
        if (disk := self._disk) is None:
            return 0
        slab, index = disk.slab, disk.index
        dropped = 0
        for asked in _batches(index):
            rows = index.lease(asked)
            rows = rows[rows != MISS]
            for row in rows.tolist():
                index.forget(row)
            # Held until its header is gone: another block must not be written there before.
            await all_of(disk.writers, [partial(slab.erase, row) for row in rows.tolist()])
            index.release(rows)
            dropped += len(rows)
        return dropped


def _batches(index: SlabIndex) -> Iterator[Keys]:
    keys = index.keys()
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
