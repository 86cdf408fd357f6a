"""A slab as a keeper has it: blocks of the arena written there, and brought back."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import Keys, Numbers
from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.uses import save, uses_file
from appliance.cache.tier import Tier
from appliance.keeper.budget import WriteBudget
from appliance.keeper.tiers import Flags, Near, all_of

READERS: Final = 16
WRITERS: Final = 4
"""Reads come first: a request waits for them."""
USES_SECONDS: Final = 60.0
"""So much of the order may be lost with a kill."""


TOGETHER: Final = 4
"""Rows that a reader takes at a time: handing one over costs Python more than checking it."""


class DiskCounts(NamedTuple):
    """What was found in the slab, and whether the page cache is passed by; bytes of a row. Since the start: blocks
    brought back, reads and writes that the disk refused."""

    opened: str
    is_direct: bool
    row_bytes: int
    promoted: int
    read_errors: int
    write_errors: int


class Disk:
    """`tiers.Below`. Rows that did not give what they should hold are counted by the index."""

    tier = Tier.DISK
    is_ready = True

    def __init__(
        self, near: Near, slab: Slab, index: SlabIndex, num_readers: int = READERS, num_writers: int = WRITERS
    ) -> None:
        self.slab = slab
        self.index = index
        self.readers = ThreadPoolExecutor(num_readers, "read")
        self.writers = ThreadPoolExecutor(num_writers, "write")
        self.promoted = self.read_errors = self.write_errors = 0
        self._near = near

    def lacks(self, keys: Keys) -> Flags:
        found: Flags = self.index.rows_of(keys) == MISS
        return found

    async def write(self, keys: Keys, held: Numbers, budget: WriteBudget) -> int:
        slab, index = self.slab, self.index
        allowed = budget.take(len(keys), slab.shape.stride)
        keys, held = keys[:allowed], held[:allowed]
        rows = index.begin_write(keys)
        keys, held, rows = keys[rows != MISS], held[rows != MISS], rows[rows != MISS]
        parents, worth = self._near.arena.facts(held)
        facts = index.facts(keys, parents, worth)
        calls = [
            partial(slab.write, row, facts.at(slice(place, place + 1)), self._near.row(source))
            for place, (row, source) in enumerate(zip(rows.tolist(), held.tolist(), strict=True))
        ]
        try:
            answers = await all_of(self.writers, calls)
        except BaseException:
            index.abort(rows)
            raise
        is_written = np.array([answer is None for answer in answers], np.bool_)
        index.finish_write(rows[is_written], facts.at(is_written))
        index.abort(rows[~is_written])
        self.write_errors += int((~is_written).sum())
        return int(is_written.sum())

    async def bring(self, keys: Keys, parents: Keys) -> Flags:
        arena, index = self._near.arena, self.index
        rows = index.lease(keys)
        places = np.flatnonzero(rows != MISS)
        targets = arena.begin_store(keys[places])
        index.release(rows[places[targets == MISS]])
        places, targets = places[targets != MISS], targets[targets != MISS]
        rows = rows[places]
        is_whole = np.zeros(len(places), np.bool_)
        try:
            is_whole = await self._copy(keys[places], rows.tolist(), targets.tolist())
        finally:
            for whole in (False, True):
                ended = is_whole if whole else ~is_whole
                at = places[ended]
                arena.end_store(keys[at], parents[at], None, index.worths(rows[ended]), is_whole=whole)
            index.count_reads(rows[is_whole])
            index.release(rows)
        brought = np.zeros(len(keys), np.bool_)
        brought[places[is_whole]] = True
        self.promoted += int(is_whole.sum())
        return brought

    @property
    def counts(self) -> DiskCounts:
        slab, told = self.slab, (self.promoted, self.read_errors, self.write_errors)
        return DiskCounts(slab.opened, slab.is_direct, slab.shape.row_bytes, *told)

    async def keep_uses(self) -> None:
        """Write down now and then when rows were used last, until cancelled."""
        while True:
            await asyncio.sleep(USES_SECONDS)
            await all_of(self.writers, [partial(save, uses_file(self.slab.path), self.index.uses)])

    def close(self) -> None:
        """When nothing is under way any more."""
        with contextlib.suppress(OSError):
            save(uses_file(self.slab.path), self.index.uses)
        self.readers.shutdown()
        self.writers.shutdown()
        self.slab.close()

    async def _copy(self, keys: Keys, rows: list[int], targets: list[int]) -> Flags:
        """Which of them are in the arena, to the last bit. One that is not what its header says is dropped."""
        calls = [
            partial(self.slab.read, row, key, self._near.row(target))
            for row, key, target in zip(rows, keys, targets, strict=True)
        ]
        answers = await all_of(self.readers, calls, TOGETHER)
        bad = [row for row, answer in zip(rows, answers, strict=True) if answer is False]
        for row, answer in zip(rows, answers, strict=True):
            if answer is not True:
                self.index.drop(row)
        self.read_errors += sum(isinstance(answer, OSError) for answer in answers)
        await all_of(self.writers, [partial(self.slab.erase, row) for row in bad])
        return np.array([answer is True for answer in answers], np.bool_)
