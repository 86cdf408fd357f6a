"""From the disk to the arena: what a request is about to want is there before its engine looks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import KEY_WORDS, Keys
from appliance.cache.tier import Tier
from appliance.keeper.tiers import Tiers, all_of

Flags = NDArray[np.bool_]

BATCH: Final = 64
"""Rows that are read before they are told of together. The head of a prompt is there first."""


class Promotions:
    """Counts since it was made: blocks brought back, and reads that the disk refused. All rows that did not give what
    they should hold are counted by the index."""

    def __init__(self, tiers: Tiers) -> None:
        self.promoted = self.errors = 0
        self._tiers = tiers
        self._under_way: dict[bytes, asyncio.Future[None]] = {}

    async def promote(self, keys: Keys) -> AsyncIterator[bytes]:
        """Bring back what is missing in the arena of these blocks of one prompt, from its head on, until one cannot be.
        Each time that more of them are there, one behind the other: where each of these was when it was asked for, a
        `Tier` each. What another promotion brings is waited for."""
        arena = self._tiers.arena
        was_near = arena.rows_of(keys) != MISS
        reach = self._reach(keys, was_near)
        parents = np.concatenate([np.zeros((1, KEY_WORDS), np.uint64), keys[:-1]])
        for start in range(0, reach, BATCH):
            part = slice(start, min(start + BATCH, reach))
            await self._others(keys[part])
            missing = arena.rows_of(keys[part]) == MISS
            await self._read(keys[part][missing], parents[part][missing])
            is_there = arena.rows_of(keys[part]) != MISS
            count = _leading(is_there)
            yield np.where(was_near[part][:count], Tier.HOST, Tier.DISK).astype(np.uint8).tobytes()
            if count < len(is_there):
                return

    def _reach(self, keys: Keys, is_near: Flags) -> int:
        """How many from the head on are in one of the two tiers."""
        is_known = is_near | (self._tiers.index.rows_of(keys) != MISS)
        is_known |= np.array([key.tobytes() in self._under_way for key in keys], np.bool_)
        return _leading(is_known)

    async def _others(self, keys: Keys) -> None:
        waited = [found for key in keys if (found := self._under_way.get(key.tobytes())) is not None]
        if waited:
            await asyncio.wait(set(waited))

    async def _read(self, keys: Keys, parents: Keys) -> None:
        """These blocks, which nobody else brings."""
        arena, index = self._tiers.arena, self._tiers.index
        rows = index.lease(keys)
        keys, parents, rows = keys[rows != MISS], parents[rows != MISS], rows[rows != MISS]
        targets = arena.begin_store(keys)
        is_ours = targets != MISS
        index.release(rows[~is_ours])
        keys, parents, rows, targets = keys[is_ours], parents[is_ours], rows[is_ours], targets[is_ours]
        done = asyncio.get_running_loop().create_future()
        names = [key.tobytes() for key in keys]
        self._under_way.update(dict.fromkeys(names, done))
        is_whole = np.zeros(len(keys), np.bool_)
        try:
            is_whole = await self._copy(keys, rows.tolist(), targets.tolist())
        finally:
            arena.end_store(keys[~is_whole], parents[~is_whole], None, index.worths(rows[~is_whole]), is_whole=False)
            arena.end_store(keys[is_whole], parents[is_whole], None, index.worths(rows[is_whole]), is_whole=True)
            index.release(rows)
            self.promoted += int(is_whole.sum())
            for name in names:
                del self._under_way[name]
            done.set_result(None)

    async def _copy(self, keys: Keys, rows: list[int], targets: list[int]) -> Flags:
        """Which of them are in the arena, to the last bit. One that is not what its header says is dropped."""
        slab, index = self._tiers.slab, self._tiers.index
        calls = [
            partial(slab.read, row, key, self._tiers.row(target))
            for row, key, target in zip(rows, keys, targets, strict=True)
        ]
        answers = await all_of(self._tiers.readers, calls)
        bad = [row for row, answer in zip(rows, answers, strict=True) if answer is False]
        for row, answer in zip(rows, answers, strict=True):
            if answer is not True:
                index.drop(row)
        self.errors += sum(isinstance(answer, OSError) for answer in answers)
        await all_of(self._tiers.writers, [partial(slab.erase, row) for row in bad])
        return np.array([answer is True for answer in answers], np.bool_)


def _leading(flags: Flags) -> int:
    """How many are true before the first that is not."""
    return len(flags) if flags.all() else int(flags.argmin())
