"""The rows of the arena as one worker sees them, under the names by which vLLM's own worker asks for its region."""

from __future__ import annotations

import mmap
from pathlib import Path

import torch
from vllm.v1.kv_offload.cpu.host_register import host_unregister

from appliance.cache.arena.tables import Geometry, mapped


class ArenaRegion:
    """vLLM's worker pins it, and owns it: `cleanup` unpins and unmaps. The file stays: others have it mapped.

    A row holds what each worker of a tensor-parallel group has of a block, side by side in the order of ranks;
    `page_bytes` is one worker's part.
    """

    BLOCK_SIZE_ALIGNMENT = mmap.PAGESIZE

    def __init__(self, path: Path, geometry: Geometry, rank: int, page_bytes: int) -> None:
        self.rank = rank
        self.num_chunks = geometry.num_rows
        self.total_size_bytes = geometry.num_rows * geometry.row_bytes
        self.is_pinned = False
        self.pinned_addresses: list[int] = []
        self._row_stride = geometry.row_bytes
        self._next, self._end = rank * page_bytes, (rank + 1) * page_bytes
        self.mmap_obj = mapped(path, self.total_size_bytes)
        self._base: torch.Tensor | None = torch.frombuffer(memoryview(self.mmap_obj), dtype=torch.int8)

    def create_next_worker_view(self, num_bytes: int) -> torch.Tensor:
        """The next `num_bytes` of this worker's part of every row: (rows, num_bytes)."""
        start, self._next = self._next, self._next + num_bytes
        if self._next > self._end or self._base is None:
            raise ValueError(f"arena: row parts end at byte {self._end}, {self._next} asked for")
        return torch.as_strided(self._base, (self.num_chunks, num_bytes), (self._row_stride, 1), start)

    def cleanup(self) -> None:
        for address in reversed(self.pinned_addresses):
            host_unregister(address)
        self.pinned_addresses.clear()
        # The map itself goes with its last view.
        self._base = None
