"""Keeps the index in step with a tier that all workers read: what one has stored there is every worker's."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.router.errors import IntegrityError
from appliance.router.index import Index, Tier
from appliance.router.mirror import WorkerMirror

PATIENCE: Final = 32
"""How often a block is looked for that no engine has told of yet: its event may come after the store."""
MAX_WAITING: Final = 65_536


class SharedTier:
    """The tier tells engines' hashes; the router's are learned from the workers' mirrors while a GPU has the block.

    A block that left every GPU before it was learned is in the tier all the same, and unknown to the router: it counts
    in `unknown`, and is read by whichever worker gets its prompt.
    """

    def __init__(self, index: Index, tier: Tier, mirrors: Sequence[WorkerMirror]) -> None:
        self.unknown = 0
        self._index = index
        self._tier = tier
        self._mirrors = mirrors
        self._own: dict[int, int] = {}
        self._holders: Counter[int] = Counter()
        """How many engine hashes stand for each own hash."""
        self._waiting: deque[tuple[int, int]] = deque()
        """Engine hashes, and how often they have been looked for."""

    def __len__(self) -> int:
        """Blocks of the tier that the router knows."""
        return len(self._own)

    def own_hash(self, engine_hash: int) -> int | None:
        """The router's hash of a block of the tier that it knows. From any thread."""
        return self._own.get(engine_hash)

    def follow(self, stored: Iterable[tuple[int, bool]]) -> None:
        """Engine hashes in the order of what became of them: stored, or gone."""
        arrived: dict[int, None] = {}
        gone: list[int] = []
        for engine_hash, is_stored in stored:
            if is_stored:
                arrived[engine_hash] = None
                continue
            arrived.pop(engine_hash, None)
            gone += self._forget(engine_hash)
        self._remove(gone)
        waiting, self._waiting = self._waiting, deque()
        self._learn([*waiting, *((engine_hash, 0) for engine_hash in arrived)])

    def restart(self, stored: Iterable[int]) -> None:
        """Forget all, and learn these: too much has happened meanwhile."""
        self._remove(list(self._holders))
        self._own.clear()
        self._holders.clear()
        self._waiting.clear()
        self.follow((engine_hash, True) for engine_hash in stored)

    def refresh(self) -> None:
        """Tell it again to workers whose part of the index was cleared, as after a restart."""
        for mirror in self._mirrors:
            if self._index.num_blocks(mirror.worker, self._tier) < len(self._holders):
                self._index.mark(mirror.worker, _array(self._holders), self._tier)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Holds after `refresh`."""
        known = len(self._holders)
        if Counter(self._own.values()) != self._holders:
            raise IntegrityError(f"{len(self._own)} shared blocks, holders of {known}")
        for mirror in self._mirrors:
            told = self._index.num_blocks(mirror.worker, self._tier)
            if told > known:
                raise IntegrityError(f"worker {mirror.worker}: {told} shared blocks in the index, {known} known")

    def _learn(self, wanted: list[tuple[int, int]]) -> None:
        learned = []
        for engine_hash, tries in wanted:
            own = self._find(engine_hash)
            if own is not None:
                self._forget(engine_hash)
                self._own[engine_hash] = own
                self._holders[own] += 1
                learned.append(own)
            elif tries < PATIENCE and len(self._waiting) < MAX_WAITING:
                self._waiting.append((engine_hash, tries + 1))
            else:
                self.unknown += 1
        for mirror in self._mirrors:
            self._index.mark(mirror.worker, _array(learned), self._tier)

    def _find(self, engine_hash: int) -> int | None:
        found = (mirror.own_hash(engine_hash) for mirror in self._mirrors)
        return next((own for own in found if own is not None), None)

    def _forget(self, engine_hash: int) -> list[int]:
        """The own hash that nothing stands for any more, if that is so."""
        own = self._own.pop(engine_hash, None)
        if own is None:
            return []
        self._holders[own] -= 1
        if self._holders[own]:
            return []
        del self._holders[own]
        return [own]

    def _remove(self, own_hashes: list[int]) -> None:
        if own_hashes:
            for mirror in self._mirrors:
                self._index.remove(mirror.worker, _array(own_hashes), tier=self._tier)


def _array(own_hashes: Collection[int]) -> NDArray[np.uint64]:
    return np.fromiter(own_hashes, np.uint64, len(own_hashes))
