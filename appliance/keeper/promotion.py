"""From lower tiers to the arena: what a request is about to want is there before its engine looks for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import KEY_WORDS, Keys
from appliance.cache.tier import NO_TIER, Tier
from appliance.keeper.disk import Disk
from appliance.keeper.remote.remote import Remote
from appliance.keeper.tiers import Flags, Near, leading

TierOf = NDArray[np.uint8]
Bring = Callable[[Keys, Keys], Awaitable[Flags]]

BATCH: Final = 64
"""Blocks that are brought before they are told of together. The head of a prompt is there first."""
AHEAD: Final = 3
"""Batches under way at a time, so that no thread waits for the last read of another batch."""
LEAST_ASKED: Final = 4
"""So many blocks must be missing before the remote store is asked: every turn ends with a few that nobody has."""
FIRST_ASKED: Final = 2
"""Blocks asked for at first where nobody knows what the remote store has, then four times as many, and so on."""


class Promotions:
    def __init__(self, near: Near, disk: Disk | None, remote: Remote | None) -> None:
        self._near = near
        self._disk = disk
        self._remote = remote
        self._under_way: dict[bytes, asyncio.Future[Tier]] = {}

    async def promote(self, keys: Keys, seconds: float) -> AsyncIterator[bytes]:
        """Bring back what is missing in the arena of these blocks of one prompt, from its head on, until one cannot be.
        Each time that more of them are there, one behind the other: where each of these was when it was asked for, a
        `Tier` each. What another promotion brings is waited for. Somebody waits for so many `seconds`."""
        was_near = self._near.arena.rows_of(keys) != MISS
        parents = np.concatenate([np.zeros((1, KEY_WORDS), np.uint64), keys[:-1]])
        deadline = self._remote.deadline(seconds) if self._remote is not None else 0.0
        flying: deque[tuple[slice, asyncio.Task[TierOf]]] = deque()
        at, probe = 0, FIRST_ASKED
        try:
            while at < len(keys) or flying:
                ahead = slice(at, at + BATCH)
                count = leading(was_near[ahead] | self._known(keys[ahead])) if len(flying) < AHEAD else 0
                if not count and not flying:
                    if not self._may_ask(len(keys) - at, deadline, is_first=probe == FIRST_ASKED):
                        return
                    count, probe = min(probe, BATCH, len(keys) - at), 4 * probe
                if count:
                    part = slice(at, at + count)
                    bringing = self._bring(keys[part], parents[part], deadline)
                    flying.append((part, asyncio.create_task(bringing)))
                    at = part.stop
                    continue
                part, task = flying.popleft()
                tiers = await task
                tiers[was_near[part] & (tiers != NO_TIER)] = Tier.HOST
                there = leading(tiers != NO_TIER)
                yield tiers[:there].tobytes()
                if there < len(tiers):
                    return
        finally:
            await asyncio.gather(*(task for _, task in flying), return_exceptions=True)

    def _known(self, keys: Keys) -> Flags:
        """Which are on the disk, or on their way."""
        known = np.array([key.tobytes() in self._under_way for key in keys], np.bool_)
        return known if self._disk is None else known | ~self._disk.lacks(keys)

    def _may_ask(self, num_missing: int, deadline: float, *, is_first: bool) -> bool:
        if self._remote is None or (is_first and num_missing < LEAST_ASKED):
            return False
        return self._remote.may_be_asked(deadline)

    async def _bring(self, keys: Keys, parents: Keys, deadline: float) -> TierOf:
        """Where each of these was, NO_TIER for what is not in the arena now."""
        tiers, remote = await self._others(keys), self._remote
        if self._disk is not None:
            await self._take(Tier.DISK, self._disk.bring, keys, parents, tiers)
        if remote is not None and remote.may_be_asked(deadline):
            await self._take(Tier.REMOTE, partial(remote.bring, deadline=deadline), keys, parents, tiers)
        there = self._near.arena.rows_of(keys) != MISS
        tiers[there & (tiers == NO_TIER)] = Tier.HOST
        tiers[~there] = NO_TIER
        return tiers

    async def _others(self, keys: Keys) -> TierOf:
        """Which of them other promotions have brought, when these have ended."""
        tiers = np.full(len(keys), NO_TIER, np.uint8)
        waited = {at: found for at, key in enumerate(keys) if (found := self._under_way.get(key.tobytes())) is not None}
        if waited:
            await asyncio.wait(set(waited.values()))
        for at, found in waited.items():
            tiers[at] = found.result()
        return tiers

    async def _take(self, tier: Tier, bring: Bring, keys: Keys, parents: Keys, tiers: TierOf) -> None:
        """From this tier what the arena lacks, and nobody else brings."""
        missing = np.flatnonzero(self._near.arena.rows_of(keys) == MISS)
        missing = np.array([at for at in missing if keys[at].tobytes() not in self._under_way], np.int64)
        if not len(missing):
            return
        done = asyncio.get_running_loop().create_future()
        names = [keys[at].tobytes() for at in missing]
        self._under_way.update(dict.fromkeys(names, done))
        try:
            brought = await bring(keys[missing], parents[missing])
            tiers[missing[brought]] = tier
        finally:
            for name in names:
                del self._under_way[name]
            done.set_result(tier)
