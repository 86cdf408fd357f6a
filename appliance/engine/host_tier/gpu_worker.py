"""Moves blocks between the arena and a GPU: vLLM's own worker, whose loads a kernel does."""

from __future__ import annotations

from typing import Any, Final

import torch
from vllm.platforms import current_platform
from vllm.triton_utils import HAS_TRITON
from vllm.v1.kv_offload.base import CanonicalKVCaches
from vllm.v1.kv_offload.cpu.gpu_worker import CPUOffloadingWorker
from vllm.v1.kv_offload.cpu.swap_blocks_triton import _swap_blocks_kernel

from appliance.engine.host_tier.region import ArenaRegion

PROGRAMS: Final = 24
"""Of a kernel that copies: 16 to 128 of them nearly reach what one large copy does, 12 do not (`benchmarks.copies`)."""
CHUNK_BYTES: Final = 8192
WORD_BYTES: Final = 8


class GpuWorker(CPUOffloadingWorker):  # type: ignore[misc]  # vllm is not typed
    """vLLM would copy each layer of each block by itself: 65,536 for 32K tokens of an 8B model, which take longer
    to ask for than the bytes to move. A kernel reads the pinned rows instead. It keeps a fifth of an H100's processors
    busy meanwhile; stores, which run beside every step, are left to the copy engine.
    """

    def __init__(self, kv_caches: CanonicalKVCaches, blocks_per_chunk: int, region: ArenaRegion) -> None:
        super().__init__(
            kv_caches=kv_caches,
            blocks_per_chunk=blocks_per_chunk,
            num_cpu_chunks=region.num_chunks,
            mmap_region=region,
        )
        pages = [tensor.page_size_bytes for tensor in kv_caches.tensors]
        reads_host = current_platform.is_cuda() and HAS_TRITON  # on others a kernel cannot follow a host address
        if reads_host and region.is_pinned and all(page % WORD_BYTES == 0 for page in pages):
            self._load_handler._swap_blocks_batch = copy_by_kernel  # noqa: SLF001 – vLLM's choice, by size of page only


def copy_by_kernel(
    sources: torch.Tensor, targets: torch.Tensor, sizes: torch.Tensor, is_src_access_order_any: bool = False
) -> None:
    """`ops.swap_blocks_batch` from pinned memory to the GPU, in the current stream. All tables are int64 and pinned."""
    del is_src_access_order_any
    told: list[Any] = [table.to("cuda", non_blocking=True) for table in (sources, targets, sizes)]
    num_pieces = sources.numel()
    _swap_blocks_kernel[(min(PROGRAMS, num_pieces),)](*told, num_pieces, BYTES_PER_CHUNK=CHUNK_BYTES)
