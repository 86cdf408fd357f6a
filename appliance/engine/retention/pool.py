"""vLLM's block pool on the eviction core.

numba must not be imported before a CPU worker has started, which happens before the scheduler makes its pool: what
needs it is imported when a pool is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_events import BlockRemoved
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_utils import (
    BlockHash,
    BlockHashWithGroupId,
    KVCacheBlock,
    get_block_hash,
    get_group_id,
    maybe_convert_block_hash,
)
from vllm.v1.request import Request

if TYPE_CHECKING:
    from appliance.engine.retention.retention import Retention


class RetentionBlockPool(BlockPool):  # type: ignore[misc]  # vllm is not typed
    """A `BlockPool` that evicts by priority. With no claims, which go by last use, it evicts as vLLM's own does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from appliance.cache import warming
        from appliance.engine.retention import blocks
        from appliance.engine.retention.retention import Retention

        warming.warm_up()
        blocks.warm_up()
        for block in self.blocks:
            block.prev_free_block = block.next_free_block = None
        self.retention: Retention = Retention(self.blocks)
        self._requests = self.retention.requests
        self.free_block_queue = self.retention.queue
        self.free_block_queue.remove(self.null_block)
        self._found = self.cached_block_hash_to_block._cache  # noqa: SLF001  # a look-up that calls nothing

    def cache_full_blocks(
        self,
        request: Request,
        blocks: list[KVCacheBlock],
        num_cached_blocks: int,
        num_full_blocks: int,
        block_size: int,
        kv_cache_group_id: int,
        block_mask: list[bool] | None = None,
    ) -> None:
        super().cache_full_blocks(
            request, blocks, num_cached_blocks, num_full_blocks, block_size, kv_cache_group_id, block_mask
        )
        if num_cached_blocks < num_full_blocks:
            self._requests.filled(
                request, blocks, num_cached_blocks, num_full_blocks, block_size, kv_cache_group_id, block_mask
            )

    def get_cached_block(self, block_hash: BlockHash, kv_cache_group_ids: list[int]) -> list[KVCacheBlock] | None:
        """As vLLM's; for one group, without its three calls for each block of a prompt."""
        if len(kv_cache_group_ids) == 1:
            found = self._found.get(block_hash + kv_cache_group_ids[0].to_bytes(4, "big"))
            if found is None:
                return None
            if found.__class__ is KVCacheBlock:
                return [found]
        blocks: list[KVCacheBlock] | None = super().get_cached_block(block_hash, kv_cache_group_ids)
        return blocks

    def get_new_blocks(self, num_blocks: int) -> list[KVCacheBlock]:
        if num_blocks > self.free_block_queue.num_free_blocks:
            raise ValueError(f"Cannot get {num_blocks} free blocks from the pool")
        taken: list[KVCacheBlock] = self.free_block_queue.popleft_n(num_blocks)
        if self._reuse_watchers:
            self._notify_reuse(taken)
        if self.metrics_collector:
            for block in taken:
                self.metrics_collector.on_block_evicted(block)
                self.metrics_collector.on_block_allocated(block)
        removed: list[BlockHashWithGroupId] = []
        for block in taken:
            block.ref_cnt += 1
            if block._block_hash is not None:  # noqa: SLF001  # half the time of the property that reads it
                self._forget(block, removed)
        if removed and self.enable_kv_cache_events:
            self._tell_of_removed(removed)
        return taken

    def _forget(self, block: KVCacheBlock, removed: list[BlockHashWithGroupId]) -> None:
        """As `super()._remove_cached_block_hashes`, without lists for the one hash that nearly all blocks have."""
        if block.block_id in self.cached_block_hashes_by_block:
            removed += super()._remove_cached_block_hashes(block)
            return
        key = block.block_hash
        if self.cached_block_hash_to_block.pop(key, block.block_id) is not None:
            removed.append(key)
        block.reset_hash()

    def _tell_of_removed(self, removed: list[BlockHashWithGroupId]) -> None:
        """In one event for all of a group, where vLLM sends one for each."""
        by_group: dict[int, list[Any]] = {}
        for key in removed:
            by_group.setdefault(get_group_id(key), []).append(maybe_convert_block_hash(get_block_hash(key)))
        for group, hashes in by_group.items():
            self.kv_event_queue.append(BlockRemoved(block_hashes=hashes, medium=self.medium, group_idx=group))

    def touch(self, blocks: Sequence[KVCacheBlock]) -> None:
        idle = []
        collector = self.metrics_collector
        for block in blocks:
            if block.ref_cnt == 0 and not block.is_null:
                idle.append(block.block_id)
            block.ref_cnt += 1
            if collector:
                collector.on_block_accessed(block)
        if idle:
            self.free_block_queue.remove_n(idle)

    def reset_prefix_cache(self) -> bool:
        is_reset: bool = super().reset_prefix_cache()
        if is_reset:
            self._found = self.cached_block_hash_to_block._cache  # noqa: SLF001
            self.retention.drop_all()
        return is_reset

    def _remove_cached_block_hashes(self, block: KVCacheBlock) -> list[BlockHashWithGroupId]:
        """Called for blocks that stay where they are: those that are given out are empty in the core already."""
        removed: list[BlockHashWithGroupId] = super()._remove_cached_block_hashes(block)
        if self.retention.table.states[block.block_id]:
            self.retention.drop(block.block_id)
        return removed
