from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.kv_offload.base import GPULoadStoreSpec
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec

from appliance.engine.host_tier.memcpy_worker import MemcpyWorker
from appliance.engine.host_tier.region import ArenaRegion
from tests.unit.cache.arena.arenas import opened

PAGE, NUM_BLOCKS, NUM_TENSORS = 64, 8, 2


def caches() -> Any:
    """Two tensors of blocks, as vLLM registers them."""
    tensors = [
        SimpleNamespace(tensor=torch.zeros((NUM_BLOCKS, PAGE), dtype=torch.int8), page_size_bytes=PAGE)
        for _ in range(NUM_TENSORS)
    ]
    references = [SimpleNamespace(tensor_idx=number, page_size_bytes=PAGE) for number in range(NUM_TENSORS)]
    return SimpleNamespace(tensors=tensors, group_data_refs=[references])


def worker(folder: Path, kv: Any, blocks_per_chunk: int) -> MemcpyWorker:
    index = opened(folder)
    page_bytes = NUM_TENSORS * PAGE * blocks_per_chunk
    region = ArenaRegion(index.place.rows_file, index.geometry, 0, page_bytes)
    return MemcpyWorker(kv, blocks_per_chunk, region)


def on_device(blocks: list[int], first: int = 0) -> GPULoadStoreSpec:
    return GPULoadStoreSpec(blocks, [len(blocks)], [first])


@pytest.mark.parametrize(("blocks_per_chunk", "first", "rows"), [(1, 0, [5, 2, 7]), (2, 0, [5, 2]), (2, 1, [5, 2])])
def test_what_one_worker_stored_another_loads_into_other_blocks(
    tmp_path: Path, blocks_per_chunk: int, first: int, rows: list[int]
) -> None:
    source, target = caches(), caches()
    for number, one in enumerate(source.tensors):
        one.tensor.copy_(torch.arange(NUM_BLOCKS * PAGE).reshape(NUM_BLOCKS, PAGE) % 120 + number)
    writer, reader = worker(tmp_path, source, blocks_per_chunk), worker(tmp_path, target, blocks_per_chunk)
    assert writer.submit_store(1, on_device([3, 0, 6], first), CPULoadStoreSpec(rows))
    assert reader.submit_load(2, CPULoadStoreSpec(rows), on_device([1, 4, 2], first))
    for before, after in zip(source.tensors, target.tensors, strict=True):
        assert np.array_equal(before.tensor[[3, 0, 6]], after.tensor[[1, 4, 2]])
        assert not after.tensor[[0, 3, 5, 6, 7]].any()
    (done,) = reader.get_finished()
    assert (done.job_id, done.success, done.transfer_size) == (2, True, 3 * PAGE * NUM_TENSORS)
    assert reader.get_finished() == []
    writer.shutdown()
    reader.shutdown()


def test_a_row_part_beyond_its_workers_is_refused(tmp_path: Path) -> None:
    index = opened(tmp_path)
    region = ArenaRegion(index.place.rows_file, index.geometry, 0, PAGE)
    region.create_next_worker_view(PAGE)
    with pytest.raises(ValueError, match="row parts end at byte 64, 65 asked for"):
        region.create_next_worker_view(1)
