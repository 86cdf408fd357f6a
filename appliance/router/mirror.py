"""What one worker's GPU cache holds, kept from its events.

How vLLM 0.32 reports its cache (all in `v1/core/block_pool.py`):

- `BlockPool.cache_full_blocks` emits one `BlockStored` per call, also when the same hash is cached in another block
  already: `BlockHashToBlockMap` does not de-duplicate. A prompt whose length is a multiple of the block size computes
  its last block again on every hit, so copies are ordinary.
- `BlockPool._maybe_evict_cached_block` emits one `BlockRemoved` per hash *and copy*. A hash is gone when it was
  removed as often as it was stored; hence the counting here.
- `BlockPool.move_block_hashes` emits nothing: the copy lives on in another block.
- `BlockPool.cache_partial_block` reports a piece of a block, with a smaller `block_size`.
- `BlockPool.reset_prefix_cache` emits `AllBlocksCleared`, and only when no block is in use.
- `BlockPool.emit_cached_block_events` reports blocks that were only reused, for requests that carry
  `kv_cache_report_mode="full"`. Nothing tells such a report from a new copy, so it would be counted as one and the
  block be believed after its eviction: no request may carry that mode.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from appliance.router.engine_blocks import EngineBlocks
from appliance.router.errors import IndexFull, IntegrityError, RouterError
from appliance.router.events import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent
from appliance.router.hashing import ROOT, Hashes, hash_blocks
from appliance.router.index import MAX_WORKERS, Index

_GPU_MEDIA = (None, "GPU")
_GROUPS = (None, 0)
_FULL_ATTENTION_KINDS = (None, "full_attention", "mla_attention", "sink_full_attention")


@dataclass(slots=True)
class MirrorStats:
    """Counted since the mirror was made; a reset does not set them back."""

    stored_blocks: int = 0
    removed_blocks: int = 0
    orphans: int = 0
    """BlockStored events skipped because their parent block is not known."""
    ignored: int = 0
    """Events of another tier, attention group, block size or type."""
    unknown_removals: int = 0
    """Removed blocks that were not known: they came with an orphan, or from before a reset."""
    overflows: int = 0
    """How often the index was full, after which the mirror was reset."""


class WorkerMirror:
    """Applies one worker's events to its part of `index`, which nobody else may write.

    Blocks of full attention (group 0) on the GPU count. The mirror starts for a fresh engine: in step and empty.
    `root` is the router's. Raises `RouterError` for a worker that the index has no room for.
    """

    def __init__(self, worker: int, index: Index, block_tokens: int, *, root: int = ROOT) -> None:
        if not 0 <= worker < MAX_WORKERS:
            raise RouterError(f"worker {worker}: the router tells workers 0 to {MAX_WORKERS - 1} apart, no others")
        self.worker = worker
        self.stats = MirrorStats()
        self.in_step = True
        """False after a reset: the engine may hold more than is known. What is claimed is held all the same."""
        self._index = index
        self._block_tokens = block_tokens
        self._root = root
        self._blocks = EngineBlocks()
        self._others: dict[int, int] = {}
        """Engine hashes beyond the first of an own hash: vLLM hashes a LoRA's path, its events give only the name."""

    @property
    def num_blocks(self) -> int:
        """Different blocks known, copies not counted."""
        return len(self._blocks) - sum(self._others.values())

    @property
    def num_engine_blocks(self) -> int:
        """Different engine hashes known: the engine's own count, as soon as all its events are applied."""
        return len(self._blocks)

    def own_hash(self, engine_hash: int) -> int | None:
        """The router's hash of a block that the engine holds now."""
        return self._blocks.own_hash(engine_hash)

    def last_own_hash(self, engine_hash: int) -> int | None:
        """Also of a block that the engine has had to let go of lately."""
        return self._blocks.last_own_hash(engine_hash)

    def apply(self, batch: Batch) -> None:
        """Apply all events in order. Never raises for what an engine may say: what cannot be used is counted."""
        self.stats.ignored += batch.unknown_events
        # vLLM tells of each removed block by itself, which is dear to apply one by one.
        removed = array("Q")
        for event in batch.events:
            if _is_removal(event):
                removed += event.block_hashes
            else:
                self._remove(removed)
                removed = array("Q")
                self._apply(event)
        self._remove(removed)

    def engine_hashes(self, own_hashes: Hashes) -> list[int]:
        """What the engine calls those of these blocks that it holds, in no order."""
        return self._blocks.engine_hashes(own_hashes).tolist() if own_hashes.size else []

    def reset(self, *, engine_is_empty: bool = False) -> None:
        """Forget all blocks. In step afterwards only when the engine is known to hold nothing either."""
        self._blocks.clear()
        self._others.clear()
        self._index.clear(self.worker)
        self.in_step = engine_is_empty

    def check_integrity(self, engine_blocks: int | None = None) -> None:
        """Raises `IntegrityError` when blocks and index disagree. Does not mutate.

        With `engine_blocks`, the engine's own number of different block hashes in its cache, also when that is not
        `num_engine_blocks`. Reads everything, as the index does.
        """
        self._blocks.check_integrity()
        own_hashes, holders = np.unique(self._blocks.own_hashes(), return_counts=True)
        others = {int(own): int(count) - 1 for own, count in zip(own_hashes, holders, strict=True) if count > 1}
        if others != self._others:
            raise IntegrityError(f"worker {self.worker}: holders do not add up to the blocks")
        indexed = self._index.num_blocks(self.worker)
        if indexed != own_hashes.size:
            raise IntegrityError(f"worker {self.worker}: {own_hashes.size} blocks known, {indexed} in the index")
        if engine_blocks is not None and engine_blocks != len(self._blocks):
            raise IntegrityError(
                f"worker {self.worker}: {len(self._blocks)} blocks known, {engine_blocks} in the engine"
            )

    def _apply(self, event: KVEvent) -> None:
        match event:
            case AllBlocksCleared():
                self.reset(engine_is_empty=True)
            case BlockStored() if self._is_ours(event):
                self._store(event)
            case _:
                self.stats.ignored += 1

    def _is_ours(self, event: BlockStored) -> bool:
        return (
            event.medium in _GPU_MEDIA
            and event.group_idx in _GROUPS
            and event.kv_cache_spec_kind in _FULL_ATTENTION_KINDS
            and event.block_size == self._block_tokens
            and len(event.token_ids) == len(event.block_hashes) * self._block_tokens
        )

    def _store(self, event: BlockStored) -> None:
        parent = None
        if event.parent_block_hash is not None:
            parent = self._blocks.own_hash(event.parent_block_hash)
            if parent is None:
                self.stats.orphans += 1
                return
        tokens = np.frombuffer(event.token_ids, np.uint32)
        own_hashes = hash_blocks(
            tokens, self._block_tokens, parent=parent, extra_keys=event.extra_keys, root=self._root
        )
        self.stats.stored_blocks += own_hashes.size
        is_new = self._blocks.add(np.frombuffer(event.block_hashes, np.uint64), own_hashes)
        try:
            is_first = self._index.store(self.worker, own_hashes, parent=parent)
        except IndexFull:
            self.stats.overflows += 1
            self.reset()
            return
        for own_hash in own_hashes[is_new > is_first].tolist():
            self._others[own_hash] = self._others.get(own_hash, 0) + 1

    def _remove(self, engine_hashes: array[int]) -> None:
        if not engine_hashes:
            return
        gone, unknown = self._blocks.drop(np.frombuffer(engine_hashes, np.uint64))
        self.stats.removed_blocks += len(engine_hashes) - unknown
        self.stats.unknown_removals += unknown
        if self._others:
            gone = np.array(
                [own_hash for own_hash in gone.tolist() if not self._is_held_by_another(own_hash)], np.uint64
            )
        self._index.remove(self.worker, gone)

    def _is_held_by_another(self, own_hash: int) -> bool:
        if own_hash not in self._others:
            return False
        self._others[own_hash] -= 1
        if not self._others[own_hash]:
            del self._others[own_hash]
        return True


def _is_removal(event: KVEvent) -> TypeGuard[BlockRemoved]:
    return isinstance(event, BlockRemoved) and event.medium in _GPU_MEDIA and event.group_idx in _GROUPS
