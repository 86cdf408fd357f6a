"""vLLM's queue of free blocks, in the order of the eviction core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vllm.v1.core.kv_cache_utils import BlockHashWithGroupId, KVCacheBlock

from appliance.cache.errors import IntegrityError
from appliance.engine.retention.arrays import Numbers, numbers
from appliance.engine.retention.blocks import BlockTable

OnEvicted = Callable[[Numbers, list[BlockHashWithGroupId | None]], None]
Settle = Callable[[Numbers], None]


class RetentionQueue:
    """Has the members of `FreeKVCacheBlockQueue` that vLLM uses. Blocks that are in it have no holder in the table."""

    def __init__(
        self, blocks: Sequence[KVCacheBlock], table: BlockTable, settle: Settle, on_evicted: OnEvicted
    ) -> None:
        """All blocks of the table are free.

        `settle` sees to it that the table knows of all that these blocks hold. `on_evicted` is told of blocks that are
        handed out, some of which had content: as the table gives them, and by what hashes they could be found.
        """
        self.num_free_blocks = len(blocks)
        self._blocks = blocks
        self._table = table
        self._settle = settle
        self._on_evicted = on_evicted

    def popleft(self) -> KVCacheBlock:
        if not self.num_free_blocks:
            raise ValueError("No free blocks available")
        # A running request that needs its next block: what numpy does for many costs too much for one (measured).
        victims = self._table.take(1)
        self.num_free_blocks -= 1
        block = self._blocks[victims.item(0)]
        if victims.item(1):
            self._on_evicted(victims, [block.block_hash])
        return block

    def popleft_n(self, n: int) -> list[KVCacheBlock]:
        if n < 2:
            return [self.popleft()] if n else []
        victims = self._table.take(n)
        self.num_free_blocks -= n
        blocks = self._blocks
        numbers, had_content = victims[:2].tolist()
        taken = [blocks[number] for number in numbers]
        if 1 in had_content:
            self._on_evicted(victims, [block.block_hash for block in taken])
        return taken

    def remove(self, block: KVCacheBlock) -> None:
        self.remove_n([block.block_id])

    def remove_n(self, block_ids: Sequence[int]) -> None:
        self._table.hold(numbers(block_ids))
        self.num_free_blocks -= len(block_ids)

    def append(self, block: KVCacheBlock) -> None:
        self.append_n([block])

    def append_n(self, blocks: Sequence[KVCacheBlock]) -> None:
        """Blocks with a hash, the one to go first in front."""
        if not blocks:
            return
        ids = numbers([block.block_id for block in blocks])
        self._settle(ids)
        self._release(ids[::-1])

    def prepend_n(self, blocks: Sequence[KVCacheBlock]) -> None:
        """Blocks without a hash: they go before all others, the first in front."""
        if not blocks:
            return
        ids = numbers([block.block_id for block in blocks])
        if any(map(self._table.states.__getitem__, ids.tolist())):
            self._table.drop(ids)
        self._release(ids)

    def get_all_free_blocks(self) -> list[KVCacheBlock]:
        """Nearly in the order in which they go; see `iter_blocks_after`."""
        return [self._blocks[number] for number in self._table.core.candidates().tolist()]

    def iter_blocks_after(self, cursor: KVCacheBlock | None) -> Iterator[KVCacheBlock]:
        """By priority, then by last use: the forecast, and children before parents, are left out. Sorts all blocks.

        Nothing comes after a block that is not free.
        """
        is_after = cursor is None
        for block in self.get_all_free_blocks():
            if is_after:
                yield block
            elif block is cursor:
                is_after = True

    def check_integrity(self) -> None:
        """Raises `IntegrityError` unless exactly the blocks that nobody references are free."""
        idle = {block.block_id for block in self._blocks if block.ref_cnt == 0 and not block.is_null}
        free = set(self._table.core.candidates().tolist())
        if idle != free or len(free) != self.num_free_blocks:
            raise IntegrityError(f"{len(idle)} blocks idle, {len(free)} free, {self.num_free_blocks} counted")

    def _release(self, ids: Numbers) -> None:
        """The last becomes a candidate first."""
        self._table.release(ids)
        self.num_free_blocks += len(ids)
