"""The remote store as a tier below the arena. No request waits for it longer than its deadline; what it does not give
in time, whole and right, is a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import Keys, Numbers
from appliance.cache.slab.index import worth_now
from appliance.cache.slab.layout import ROW_HEADER
from appliance.cache.tier import Tier
from appliance.keeper.budget import WriteBudget
from appliance.keeper.remote.breaker import Breaker
from appliance.keeper.remote.known import Known
from appliance.keeper.remote.operations import Operations
from appliance.keeper.remote.record import HEADER_BYTES, Found, decode, encode, facts_of, name_of
from appliance.keeper.remote.stores import Limits, Store
from appliance.keeper.tiers import Flags, Near, all_of

PATIENCE: Final = 0.8
"""Of the time that somebody waits for a prompt: the disk is asked for a part of it too."""
MAX_BATCH_BYTES: Final = 16 * 2**20
"""In one operation, so that a slow line still ends it within the time limit."""
COPIERS: Final = 2


class RemoteCounts(NamedTuple):
    """`reading` and `writing` say whether it is asked (`breaker.State`). Blocks since the start: brought, asked for in
    vain, and not what they should be; written, and not taken. Operations that failed or took too long, those that found
    too many under way, and prompts for which the time was over."""

    reading: str
    writing: str
    promoted: int
    missed: int
    bad: int
    written: int
    write_errors: int
    failures: int
    busy: int
    late: int


class Remote:
    """`tiers.Below`. It counts; `wall` gives the time of day in seconds."""

    tier = Tier.REMOTE

    def __init__(
        self,
        near: Near,
        store: Store,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.promoted = self.missed = self.bad = self.written = self.write_errors = self.late = 0
        self.reads = Operations("remote-read", limits, limits.connections, Breaker(clock))
        self.writes = Operations("remote-write", limits, max(1, limits.connections // 4), Breaker(clock), most=1)
        self._near = near
        self._store = store
        self._wall = wall
        self._known = Known()
        self._copiers = ThreadPoolExecutor(COPIERS, "remote-copy")
        self._identity = near.arena.namespace
        self._at_once = max(1, MAX_BATCH_BYTES // (HEADER_BYTES + near.row_bytes))

    @property
    def is_ready(self) -> bool:
        return self.writes.may_begin and self.reads.may_begin

    def lacks(self, keys: Keys) -> Flags:
        return np.array([key.tobytes() not in self._known for key in keys], np.bool_)

    def deadline(self, seconds: float) -> float:
        """For a prompt that comes now and for which somebody waits so long, in the loop's time."""
        return asyncio.get_running_loop().time() + PATIENCE * seconds

    def may_be_asked(self, deadline: float) -> bool:
        return self.reads.may_begin and asyncio.get_running_loop().time() < deadline

    async def bring(self, keys: Keys, parents: Keys, deadline: float) -> Flags:
        """Bring these blocks into the arena until one is not there or the time is over; which of them were brought."""
        brought = np.zeros(len(keys), np.bool_)
        for start in range(0, len(keys), self._at_once):
            part = slice(start, start + self._at_once)
            found = await self._get(keys[part], deadline)
            brought[part] = await self._place(found, keys[part], parents[part])
            self._known.discard(keys[part][~brought[part]])
            if not brought[part].all():
                break
        self.promoted += int(brought.sum())
        self._known.add(keys[brought])
        return brought

    async def write(self, keys: Keys, held: Numbers, budget: WriteBudget) -> int:
        total = 0
        for start in range(0, len(keys), self._at_once):
            part = slice(start, start + self._at_once)
            total += await self._write(keys[part], held[part], budget)
        self.written += total
        return total

    @property
    def counts(self) -> RemoteCounts:
        return RemoteCounts(
            self.reads.breaker.state,
            self.writes.breaker.state,
            self.promoted,
            self.missed,
            self.bad,
            self.written,
            self.write_errors,
            self.reads.failures + self.writes.failures,
            self.reads.busy,
            self.late,
        )

    def close(self) -> None:
        """What hangs in the store is left behind."""
        self.reads.close()
        self.writes.close()
        self._copiers.shutdown()
        self._store.close()

    async def _get(self, keys: Keys, deadline: float) -> list[Found | None]:
        calls = [partial(self._read, part) for part in np.array_split(keys, min(len(keys), self.reads.num_threads))]
        left = deadline - asyncio.get_running_loop().time()
        answers = await self.reads.run(calls, left)
        if answers is None:
            self.late += int(asyncio.get_running_loop().time() >= deadline)
            return [None] * len(keys)
        found = [one for answer in answers for one in answer]
        self.bad += sum(one is False for one in found)
        self.missed += sum(one is None for one in found)
        return [one or None for one in found]

    def _read(self, keys: Keys) -> list[Any]:
        """Of each what was found, `None` for nothing, `False` for something else. In a thread."""
        values = self._store.get([name_of(self._identity, key) for key in keys])
        return [
            None if value is None else decode(self._identity, key, value, self._near.row_bytes) or False
            for key, value in zip(keys, values, strict=True)
        ]

    async def _place(self, found: Sequence[Found | None], keys: Keys, parents: Keys) -> Flags:
        """Into rows of the arena; which got one."""
        arena = self._near.arena
        there = np.flatnonzero([one is not None for one in found])
        targets = arena.begin_store(keys[there])
        there, targets = there[targets != MISS], targets[targets != MISS]
        chosen = [one for place in there if (one := found[place]) is not None]
        records = np.array([one.record for one in chosen], ROW_HEADER)
        is_whole = False
        try:
            pairs = zip(targets.tolist(), chosen, strict=True)
            await all_of(self._copiers, [partial(self._copy, target, one.payload) for target, one in pairs])
            is_whole = True
        finally:
            worth = worth_now(records, int(self._wall() * 1000))
            arena.end_store(keys[there], parents[there], None, worth, is_whole=is_whole)
        brought = np.zeros(len(keys), np.bool_)
        brought[there] = True
        return brought

    def _copy(self, target: int, payload: memoryview) -> None:
        self._near.row(target)[:] = payload

    async def _write(self, keys: Keys, held: Numbers, budget: WriteBudget) -> int:
        names = [name_of(self._identity, key) for key in keys]
        present = await self.reads.run([partial(self._store.has, names)])
        if present is None:
            self.write_errors += len(keys)
            return 0
        is_there = np.array(present[0], np.bool_)
        self._known.add(keys[is_there])
        lacking = np.flatnonzero(~is_there)
        lacking = lacking[: budget.take(len(lacking), HEADER_BYTES + self._near.row_bytes)]
        values = await self._encoded(keys[lacking], held[lacking])
        pairs = list(zip([names[place] for place in lacking], values, strict=True))
        calls = [partial(self._store.put, name, value) for name, value in pairs]
        if calls and await self.writes.run(calls) is None:
            self.write_errors += len(calls)
            return 0
        self._known.add(keys[lacking])
        return len(calls)

    async def _encoded(self, keys: Keys, held: Numbers) -> list[Any]:
        """Copies, made while the rows are held: an operation that takes too long goes on when they are not."""
        parents, worth = self._near.arena.facts(held)
        facts = facts_of(keys, parents, worth, int(self._wall() * 1000))
        calls = [
            partial(encode, self._identity, facts.at(slice(place, place + 1)), self._near.row(row))
            for place, row in enumerate(held.tolist())
        ]
        return await all_of(self._copiers, calls)
