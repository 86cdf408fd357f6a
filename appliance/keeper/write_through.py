"""From the arena to a lower tier: what is stored is written down, as far as the queue, the budget and the tier go.

Nobody waits for it. A block that finds the queue full is dropped and counted; it comes again with its next use only if
the arena stores it anew. A row of the arena is held only while it is being written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

import numpy as np

from appliance.cache.arena.tables import KEY_WORDS
from appliance.keeper.budget import WriteBudget
from appliance.keeper.tiers import Below, Near

BATCH: Final = 32
"""Rows of the arena that are held at a time, and an eighth of all at most: who stores or promotes needs some too."""
MAX_QUEUED: Final = 4096
INTERVAL_SECONDS: Final = 0.05


class WritingStats(NamedTuple):
    """Blocks that wait; since the start those dropped because the queue was full, because the day's budget was spent,
    or because they had left the arena before their turn, and those that a policy bars; bytes written today."""

    queued: int
    dropped_full: int
    dropped_budget: int
    dropped_gone: int
    barred: int
    written_today: int


class WriteThrough:
    def __init__(self, near: Near, below: Below, budget: WriteBudget, max_queued: int = MAX_QUEUED) -> None:
        self.dropped_full = self.dropped_gone = self.barred = 0
        self._near = near
        self._below = below
        self._budget = budget
        self._max_queued = max_queued
        self._batch = max(1, min(BATCH, near.arena.geometry.num_rows // 8))
        self._queue: deque[bytes] = deque()
        self._position = 0

    @property
    def num_queued(self) -> int:
        return len(self._queue)

    @property
    def stats(self) -> WritingStats:
        budget = self._budget
        counts = (self.num_queued, self.dropped_full, budget.refused, self.dropped_gone, self.barred)
        return WritingStats(*counts, budget.spent)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.follow()
            await self.write_batch()
            is_busy = self._queue and self._below.is_ready
            await asyncio.sleep(0 if is_busy else INTERVAL_SECONDS)

    def follow(self) -> None:
        """Queue what the arena has stored since the last time."""
        arena = self._near.arena
        told = arena.changes_since(self._position)
        self._position = told.position
        keys = told.keys[told.is_stored]
        if not told.is_whole:
            keys, self._position = arena.stored_keys()
        new = keys[self._below.lacks(keys)]
        room = max(0, self._max_queued - len(self._queue))
        self._queue.extend(key.tobytes() for key in new[:room])
        self.dropped_full += max(0, len(new) - room)

    async def write_batch(self) -> int:
        """Write what is next in the queue; how many blocks were. In the order in which the arena stored them."""
        if not self._queue or not self._below.is_ready:
            return 0
        batch = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
        keys = np.frombuffer(b"".join(dict.fromkeys(batch)), np.uint64).reshape(-1, KEY_WORDS)
        keys = keys[self._below.lacks(keys)]
        found = self._near.arena.look_up(keys, stops_at_miss=False)
        held = found[found >= 0]
        self.dropped_gone += len(found) - len(held)
        may_go = ~self._near.arena.barred(held, self._below.tier)
        self.barred += int((~may_go).sum())
        try:
            return await self._below.write(keys[found >= 0][may_go], held[may_go], self._budget)
        finally:
            self._near.arena.release(held)
