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

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.router.errors import IntegrityError
from appliance.router.events import AllBlocksCleared, Batch, BlockRemoved, BlockStored, EngineHash, KVEvent
from appliance.router.hashing import hash_blocks
from appliance.router.index import Index

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


class WorkerMirror:
    """Applies one worker's events to its part of `index`, which nobody else may write.

    Blocks of full attention (group 0) on the GPU count. The mirror starts for a fresh engine: in step and empty.
    """

    def __init__(self, worker: int, index: Index, block_tokens: int) -> None:
        self.worker = worker
        self.stats = MirrorStats()
        self.in_step = True
        """False after a reset: the engine may hold more than is known. What is claimed is held all the same."""
        self._index = index
        self._block_tokens = block_tokens
        # Plain numbers in plain dicts, which the garbage collector need not walk: there are 100,000s of blocks.
        self._own_hashes: dict[EngineHash, int] = {}
        self._copies: dict[EngineHash, int] = {}
        # Two engine hashes may have one own hash: vLLM hashes a LoRA's path too, but its events give only the name.
        self._holders: dict[int, int] = {}

    @property
    def num_blocks(self) -> int:
        """Different blocks known, copies not counted."""
        return len(self._holders)

    def apply(self, batch: Batch) -> None:
        """Apply all events in order. Never raises for what an engine may say: what cannot be used is counted."""
        self.stats.ignored += batch.unknown_events
        for event in batch.events:
            self._apply(event)

    def reset(self, *, engine_is_empty: bool = False) -> None:
        """Forget all blocks. In step afterwards only when the engine is known to hold nothing either."""
        self._own_hashes.clear()
        self._copies.clear()
        self._holders.clear()
        self._index.clear(self.worker)
        self.in_step = engine_is_empty

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when blocks, holders and index disagree. Does not mutate."""
        if self._copies.keys() != self._own_hashes.keys() or any(copies < 1 for copies in self._copies.values()):
            raise IntegrityError(f"worker {self.worker}: copies are not counted for exactly the blocks known")
        holders = Counter(self._own_hashes.values())
        if holders != self._holders:
            raise IntegrityError(f"worker {self.worker}: holders do not add up to the blocks")
        indexed = self._index.num_blocks(self.worker)
        if indexed != len(holders):
            raise IntegrityError(f"worker {self.worker}: {len(holders)} blocks known, {indexed} in the index")

    def _apply(self, event: KVEvent) -> None:
        match event:
            case AllBlocksCleared():
                self.reset(engine_is_empty=True)
            case BlockStored() if self._is_ours(event):
                self._store(event)
            case BlockRemoved() if event.medium in _GPU_MEDIA and event.group_idx in _GROUPS:
                self._remove(event.block_hashes)
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
        parent_hash = None
        if event.parent_block_hash is not None:
            parent_hash = self._own_hashes.get(event.parent_block_hash)
            if parent_hash is None:
                self.stats.orphans += 1
                return
        own_hashes = hash_blocks(event.token_ids, self._block_tokens, parent=parent_hash, extra_keys=event.extra_keys)
        pairs = zip(event.block_hashes, own_hashes, strict=True)
        self._index.store(self.worker, [self._add_copy(engine_hash, own_hash) for engine_hash, own_hash in pairs])

    def _add_copy(self, engine_hash: EngineHash, own_hash: int) -> int:
        """The own hash of the block: `own_hash`, unless the engine hash stands for another one already."""
        self.stats.stored_blocks += 1
        if engine_hash in self._own_hashes:
            self._copies[engine_hash] += 1
            return self._own_hashes[engine_hash]
        self._own_hashes[engine_hash] = own_hash
        self._copies[engine_hash] = 1
        self._holders[own_hash] = self._holders.get(own_hash, 0) + 1
        return own_hash

    def _remove(self, engine_hashes: Sequence[EngineHash]) -> None:
        gone = [own_hash for engine_hash in engine_hashes if (own_hash := self._drop_copy(engine_hash)) is not None]
        if gone:
            self._index.remove(self.worker, gone)

    def _drop_copy(self, engine_hash: EngineHash) -> int | None:
        """The own hash when this was the last copy of its last holder, else `None`."""
        if engine_hash not in self._own_hashes:
            self.stats.unknown_removals += 1
            return None
        self.stats.removed_blocks += 1
        self._copies[engine_hash] -= 1
        if self._copies[engine_hash]:
            return None
        del self._copies[engine_hash]
        own_hash = self._own_hashes.pop(engine_hash)
        self._holders[own_hash] -= 1
        if self._holders[own_hash]:
            return None
        del self._holders[own_hash]
        return own_hash
