"""vLLM's block pool on the eviction core.

numba must not be imported before a CPU worker has started, which happens before the scheduler makes its pool: what
needs it is imported when a pool is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_utils import BlockHashWithGroupId, KVCacheBlock
from vllm.v1.request import Request

if TYPE_CHECKING:
    from appliance.engine.retention.retention import Retention


class RetentionBlockPool(BlockPool):  # type: ignore[misc]  # vllm is not typed
    """A `BlockPool` that evicts by priority. With no claims, which go by last use, it evicts as vLLM's own does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from appliance.cache.warming import warm_up
        from appliance.engine.retention.retention import Retention

        warm_up()
        for block in self.blocks:
            block.prev_free_block = block.next_free_block = None
        self.retention: Retention = Retention(self.blocks)
        self._requests = self.retention.requests
        self.free_block_queue = self.retention.queue
        self.free_block_queue.remove(self.null_block)

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

    def get_new_blocks(self, num_blocks: int) -> list[KVCacheBlock]:
        if num_blocks > self.get_num_free_blocks():
            raise ValueError(f"Cannot get {num_blocks} free blocks from the pool")
        taken: list[KVCacheBlock] = self.free_block_queue.popleft_n(num_blocks)
        if self._reuse_watchers:
            self._notify_reuse(taken)
        remove_hashes, collector = super()._remove_cached_block_hashes, self.metrics_collector
        for block in taken:
            if collector:
                collector.on_block_evicted(block)
            if block.block_hash is not None:
                self._emit_block_removed_events(remove_hashes(block))
            block.ref_cnt += 1
            if collector:
                collector.on_block_allocated(block)
        return taken

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
            self.retention.drop_all()
        return is_reset

    def _remove_cached_block_hashes(self, block: KVCacheBlock) -> list[BlockHashWithGroupId]:
        """Called for blocks that stay where they are: those that are given out are empty in the core already."""
        removed: list[BlockHashWithGroupId] = super()._remove_cached_block_hashes(block)
        if self.retention.table.states[block.block_id]:
            self.retention.drop(block.block_id)
        return removed
