"""Copies between KV blocks and rows of the arena on a machine without a GPU: one memcpy, nothing between."""

from __future__ import annotations

import time

import torch
from vllm.v1.kv_offload.base import (
    CanonicalKVCaches,
    GPULoadStoreSpec,
    LoadStoreSpec,
    OffloadingWorker,
    TransferResult,
)
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec

from appliance.engine.host_tier.region import ArenaRegion


class MemcpyWorker(OffloadingWorker):  # type: ignore[misc]  # vllm is not typed
    """A job is done when it is submitted."""

    def __init__(self, kv_caches: CanonicalKVCaches, blocks_per_chunk: int, region: ArenaRegion) -> None:
        self._region = region
        self._blocks_per_chunk = blocks_per_chunk
        self._references = kv_caches.group_data_refs
        self._blocks = [one.tensor.view(torch.int8).view(-1, one.page_size_bytes) for one in kv_caches.tensors]
        self._rows = [
            region.create_next_worker_view(one.page_size_bytes * blocks_per_chunk) for one in kv_caches.tensors
        ]
        self._done: list[TransferResult] = []

    def submit_store(self, job_id: int, src_spec: GPULoadStoreSpec, dst_spec: LoadStoreSpec) -> bool:
        return self._copy(job_id, src_spec, dst_spec, is_store=True)

    def submit_load(self, job_id: int, src_spec: LoadStoreSpec, dst_spec: GPULoadStoreSpec) -> bool:
        return self._copy(job_id, dst_spec, src_spec, is_store=False)

    def get_finished(self) -> list[TransferResult]:
        done, self._done = self._done, []
        return done

    def wait(self, job_ids: set[int]) -> None:
        """A no-op: nothing is under way."""

    def shutdown(self) -> None:
        self._blocks.clear()
        self._rows.clear()
        self._region.cleanup()

    def _copy(self, job_id: int, on_device: GPULoadStoreSpec, in_arena: CPULoadStoreSpec, *, is_store: bool) -> bool:
        began = time.monotonic()
        num_bytes = next_block = next_row = 0
        for group, (count, first) in enumerate(zip(on_device.group_sizes, on_device.block_indices, strict=True)):
            if not count:
                continue
            # The first block may stand inside its row.
            skipped = first % self._blocks_per_chunk
            num_rows = -(-(count + skipped) // self._blocks_per_chunk)
            blocks = on_device.block_ids[next_block : next_block + count].tolist()
            rows = in_arena.block_ids[next_row : next_row + num_rows].tolist()
            num_bytes += self._copy_group(group, blocks, rows, skipped, is_store=is_store)
            next_block, next_row = next_block + count, next_row + num_rows
        self._done.append(TransferResult(job_id, True, num_bytes, time.monotonic() - began))
        return True

    def _copy_group(self, group: int, blocks: list[int], rows: list[int], skipped: int, *, is_store: bool) -> int:
        num_bytes = 0
        for reference in self._references[group]:
            on_device, in_arena = self._blocks[reference.tensor_idx], self._rows[reference.tensor_idx]
            page = on_device.shape[1]
            for number, block in enumerate(blocks, skipped):
                row, place = divmod(number, self._blocks_per_chunk)
                part, whole = in_arena[rows[row]][place * page : (place + 1) * page], on_device[block]
                (part.copy_(whole) if is_store else whole.copy_(part))
                num_bytes += reference.page_size_bytes
        return num_bytes
