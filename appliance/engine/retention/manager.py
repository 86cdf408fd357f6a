"""vLLM's KV-cache manager, telling the block pool which request its blocks are for.

numba must not be imported with this module: see `pool.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.v1.core.kv_cache_manager import KVCacheBlocks, KVCacheManager
from vllm.v1.core.kv_cache_utils import KVCacheBlock, resolve_block_hashes
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.request import Request

from appliance.engine.retention.arrays import numbers
from appliance.engine.retention.worths import lead_of

if TYPE_CHECKING:
    from appliance.engine.retention.retention import Retention


_allocate_slots = KVCacheManager.allocate_slots


def _only_full_attention(manager: KVCacheManager) -> FullAttentionManager | None:
    """Of a pool with one KV-cache group, whose blocks are all kept while a request runs, and hashed whole."""
    groups = manager.coordinator.single_type_managers
    is_plain = len(groups) == 1 and type(groups[0]) is FullAttentionManager and manager.enable_caching
    return groups[0] if is_plain and groups[0].block_size == manager.block_pool.hash_block_size else None


class RetentionKVCacheManager(KVCacheManager):  # type: ignore[misc]  # vllm is not typed
    """A `KVCacheManager` whose pool is a `RetentionBlockPool`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.retention: Retention = self.block_pool.retention
        self._reports = self.retention.reports
        self._groups = [
            manager
            for manager in self.coordinator.single_type_managers
            if manager.block_pool is self.block_pool and manager.kv_cache_spec.prefix_cacheable
        ]
        self._linked = [manager for manager in self._groups if isinstance(manager, FullAttentionManager)]
        self._only = _only_full_attention(self)
        self.retention.requests.linked_groups = frozenset(manager.kv_cache_group_id for manager in self._linked)

    def new_step_starts(self) -> None:
        self.retention.table.tick()
        self._reports.cause = None
        super().new_step_starts()

    def allocate_slots(
        self,
        request: Request,
        num_new_tokens: int,
        num_new_computed_tokens: int = 0,
        new_computed_blocks: KVCacheBlocks | None = None,
        num_lookahead_tokens: int = 0,
        **kwargs: Any,
    ) -> KVCacheBlocks | None:
        if new_computed_blocks is None and not num_new_computed_tokens and not kwargs:
            # A running request, at each step.
            if self._needs_nothing(request, num_new_tokens, num_lookahead_tokens):
                return self.empty_kv_cache_blocks
            self._reports.cause = request
            # Passing on only what was given takes half the time (measured).
            return _allocate_slots(self, request, num_new_tokens, 0, None, num_lookahead_tokens)
        self._reports.cause = request
        if new_computed_blocks is not None and self._makes_way_for_its_lead(request, new_computed_blocks):
            self.await_prefix(request)
            return None
        slots = super().allocate_slots(
            request, num_new_tokens, num_new_computed_tokens, new_computed_blocks, num_lookahead_tokens, **kwargs
        )
        if slots is None:
            self.await_prefix(request)
        elif new_computed_blocks is not None:
            self._admit(request, new_computed_blocks)
        return slots

    def _needs_nothing(self, request: Request, num_new_tokens: int, num_lookahead_tokens: int) -> bool:
        """Whether its blocks have room for these tokens and none of them fills: then there is nothing to do, and vLLM's
        own way to find that is most of what a step costs that only generates. False where that is not so plain."""
        only = self._only
        if only is None:
            return False
        name = request.request_id
        num_filled = only.num_cached_block.get(name)
        if num_filled is None:
            return False
        tokens = request.num_computed_tokens + num_new_tokens
        size: int = only.block_size
        has_room: bool = tokens + num_lookahead_tokens <= len(only.req_to_blocks[name]) * size
        return has_room and num_new_tokens > 0 and tokens < (num_filled + 1) * size

    def free(self, request: Request) -> None:
        self._end(request)
        super().free(request)

    def pop_blocks_for_free(self, request: Request) -> list[KVCacheBlock]:
        self._end(request)
        blocks: list[KVCacheBlock] = super().pop_blocks_for_free(request)
        return blocks

    def await_prefix(self, request: Request) -> None:
        """The request waits: what it would hit now goes last of all until it is admitted or freed.

        Groups in which a hit takes only some of the blocks before it are left out. Nothing happens when it waits
        already.
        """
        if request.request_id in self.retention.waiting or not self.prefix_cache_lookup_enabled(request):
            return
        blocks = [block for manager in self._linked for block in self._cached_prefix(request, manager)]
        self.retention.waiting.begin(request.request_id, numbers(blocks))

    def _makes_way_for_its_lead(self, request: Request, hits: KVCacheBlocks) -> bool:
        """Whether a subagent's request that is not admitted yet waits for others to end rather than push out its lead.

        Alone, it never waits.
        """
        lead = None if request.request_id in self.retention.requests else lead_of(request.kv_hints)
        if lead is None:
            return False
        self.retention.leads.expect(request.request_id, lead)
        if not len(self.retention.requests):
            return False
        needed, found = 0, []
        for manager in self._linked:
            hit = hits.blocks[manager.kv_cache_group_id]
            needed += -(-request.num_tokens // manager.block_size) - len(hit)
            found += hit
        free_blocks = self.block_pool.get_num_free_blocks()
        return self.retention.leads.must_wait(
            request.request_id, lead, needs_blocks=needed, free_blocks=free_blocks, hits=found
        )

    def _cached_prefix(self, request: Request, manager: FullAttentionManager) -> list[int]:
        hashes = resolve_block_hashes(request.block_hashes, self.block_pool.hash_block_size, manager.block_size)
        found = []
        for block_hash in hashes:
            cached = self.block_pool.get_cached_block(block_hash, [manager.kv_cache_group_id])
            if cached is None:
                break
            found.append(cached[0].block_id)
        return found

    def _admit(self, request: Request, hits: KVCacheBlocks) -> None:
        self.retention.waiting.end(request.request_id)
        self.retention.requests.begin(request)
        for manager in self._groups:
            group = manager.kv_cache_group_id
            count = len(hits.blocks[group])
            if count:
                # Not the hits themselves: those outside a window were not taken, and may have been evicted by now.
                held = manager.req_to_blocks[request.request_id][:count]
                self.retention.requests.hit(request, held, manager.block_size, group)

    def _end(self, request: Request) -> None:
        self.retention.waiting.end(request.request_id)
        self.retention.leads.end(request.request_id)
        self.retention.requests.end(request.request_id)
