"""From what KV events call a block back to the engine's own hash."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from vllm.v1.core.kv_cache_utils import BlockHash, KVCacheBlock, get_block_hash, maybe_convert_block_hash


class EventHashes:
    """An index that is brought up to date only on demand, by what was filled since: who never asks pays nothing."""

    def __init__(self, blocks: Sequence[KVCacheBlock], serials: NDArray[np.int64]) -> None:
        """`serials` counts, for each block, how often it was filled."""
        self._blocks = blocks
        self._serials = serials
        self._seen = np.zeros_like(serials)
        self._hashes: dict[int | bytes, BlockHash] = {}

    def find(self, event_hash: int | bytes) -> BlockHash | None:
        """The hash of some block that the pool has now or had before."""
        return self._hashes.get(event_hash)

    def update(self) -> None:
        changed = np.flatnonzero(self._seen != self._serials)
        if len(self._hashes) > 2 * len(self._blocks):
            self._hashes.clear()
            changed = np.flatnonzero(self._serials)
        self._seen[changed] = self._serials[changed]
        for number in changed.tolist():
            key = self._blocks[number].block_hash
            if key is not None:
                own = get_block_hash(key)
                self._hashes[maybe_convert_block_hash(own)] = own
