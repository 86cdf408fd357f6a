"""From the arena to the disk: what is stored there is written here, as far as the queue, the budget and the disk go.

Nobody waits for it. A block that finds the queue full is dropped and counted; it comes again with its next use only if
the arena stores it anew. A row of the arena is held only while it is being written.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

import numpy as np

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import Keys, Numbers
from appliance.keeper.budget import WriteBudget
from appliance.keeper.tiers import Tiers, all_of

BATCH: Final = 32
"""Rows of the arena that are held at a time, and an eighth of all at most: who stores or promotes needs some too."""


class WriteThrough:
    """Counts since it was made: blocks dropped because the queue was full, because the day's budget was spent, or
    because they had left the arena before their turn; and writes that the disk refused."""

    def __init__(self, tiers: Tiers, budget: WriteBudget, max_queued: int) -> None:
        self.dropped_full = self.dropped_budget = self.dropped_gone = self.errors = 0
        self._tiers = tiers
        self._budget = budget
        self._max_queued = max_queued
        self._batch = max(1, min(BATCH, tiers.arena.geometry.num_rows // 8))
        self._queue: deque[bytes] = deque()
        self._position = 0

    @property
    def num_queued(self) -> int:
        return len(self._queue)

    def follow(self) -> None:
        """Queue what the arena has stored since the last time."""
        arena = self._tiers.arena
        told = arena.changes_since(self._position)
        self._position = told.position
        keys = told.keys[told.is_stored]
        if not told.is_whole:
            keys, self._position = arena.stored_keys()
        new = keys[self._tiers.index.rows_of(keys) == MISS]
        room = max(0, self._max_queued - len(self._queue))
        self._queue.extend(key.tobytes() for key in new[:room])
        self.dropped_full += max(0, len(new) - room)

    async def write_batch(self) -> int:
        """Write what is next in the queue; how many blocks were. In the order in which the arena stored them."""
        if not self._queue:
            return 0
        batch = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
        keys = np.frombuffer(b"".join(dict.fromkeys(batch)), np.uint64).reshape(-1, 4)
        keys = keys[self._tiers.index.rows_of(keys) == MISS]
        found = self._tiers.arena.look_up(keys, stops_at_miss=False)
        held = found[found >= 0]
        self.dropped_gone += len(found) - len(held)
        try:
            return await self._write(keys[found >= 0], held)
        finally:
            self._tiers.arena.release(held)

    async def _write(self, keys: Keys, held: Numbers) -> int:
        slab, index = self._tiers.slab, self._tiers.index
        allowed = self._budget.take(len(keys), slab.shape.stride)
        self.dropped_budget += len(keys) - allowed
        keys, held = keys[:allowed], held[:allowed]
        rows = index.begin_write(keys)
        keys, held, rows = keys[rows != MISS], held[rows != MISS], rows[rows != MISS]
        parents, worth = self._tiers.arena.facts(held)
        facts = index.facts(keys, parents, worth)
        calls = [
            partial(slab.write, row, facts.at(slice(place, place + 1)), self._tiers.row(source))
            for place, (row, source) in enumerate(zip(rows.tolist(), held.tolist(), strict=True))
        ]
        try:
            answers = await all_of(self._tiers.writers, calls)
        except BaseException:
            index.abort(rows)
            raise
        is_written = np.array([answer is None for answer in answers], np.bool_)
        index.finish_write(rows[is_written], facts.at(is_written))
        index.abort(rows[~is_written])
        self.errors += int((~is_written).sum())
        return int(is_written.sum())
