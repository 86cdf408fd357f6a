"""The brute-force twin of `PrefixIndex`: plain sets and loops."""

from __future__ import annotations

import numpy as np

from appliance.router.errors import UnknownParent
from appliance.router.hashing import Hashes
from appliance.router.index import MAX_WORKERS, Depths, Tier


class PlainIndex:
    """An `Index`, and `held`: all its (worker, tier, block hash)."""

    def __init__(self) -> None:
        self.unknown_removals = 0
        self.held: set[tuple[int, Tier, int]] = set()

    def store(
        self, worker: int, hashes: Hashes, *, parent: int | None = None, tier: Tier = Tier.GPU
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if parent is not None and not self.is_held(parent):
            raise UnknownParent(str(parent))
        is_new = []
        for block_hash in hashes.tolist():
            is_new.append((worker, tier, block_hash) not in self.held)
            self.held.add((worker, tier, block_hash))
        return np.array(is_new, np.bool_)

    def mark(self, worker: int, hashes: Hashes, tier: Tier) -> int:
        """Remembers all that ever was, unlike the index."""
        self.store(worker, hashes, tier=tier)
        return 0

    def remove(self, worker: int, hashes: Hashes, *, tier: Tier = Tier.GPU) -> None:
        for block_hash in hashes.tolist():
            if (worker, tier, block_hash) in self.held:
                self.held.remove((worker, tier, block_hash))
            else:
                self.unknown_removals += 1

    def clear(self, worker: int) -> None:
        self.held = {entry for entry in self.held if entry[0] != worker}

    def match(self, hashes: Hashes) -> Depths:
        depths = np.zeros((MAX_WORKERS, len(Tier)), np.int64)
        for worker in range(MAX_WORKERS):
            for slowest in Tier:
                for block_hash in hashes.tolist():
                    if not any((worker, tier, block_hash) in self.held for tier in Tier if tier <= slowest):
                        break
                    depths[worker, slowest] += 1
        return depths

    def num_blocks(self, worker: int, tier: Tier = Tier.GPU) -> int:
        return sum(1 for entry in self.held if entry[:2] == (worker, tier))

    def is_held(self, block_hash: int) -> bool:
        return any(entry[2] == block_hash for entry in self.held)

    def check_integrity(self) -> None:
        """Sets cannot contradict themselves."""
