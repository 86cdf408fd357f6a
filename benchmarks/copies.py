"""What it takes to bring a prompt's blocks from pinned host memory to a GPU, piece by piece, each way there is.

`python -m benchmarks.copies` (needs a GPU): blocks of `--layers` pieces of `--piece` KiB, one host row a block, one
device tensor a layer, as engines keep them. GB/s until the last byte is there, and the milliseconds that the calling
thread was busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from vllm import _custom_ops as ops
from vllm.v1.kv_offload.cpu.swap_blocks_triton import _swap_blocks_kernel

ROUNDS = 5


def measured(name: str, num_bytes: int, copy: Callable[[], object]) -> dict[str, Any]:
    copy()
    torch.cuda.synchronize()
    called, done = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        copy()
        called.append(time.perf_counter() - began)
        torch.cuda.synchronize()
        done.append(time.perf_counter() - began)
    return {
        "way": name,
        "gb_s": round(num_bytes / statistics.median(done) / 1e9, 1),
        "done_ms": round(1000 * statistics.median(done), 1),
        "busy_ms": round(1000 * statistics.median(called), 1),
    }


def main(blocks: int, layers: int, piece: int) -> None:
    row = layers * piece
    host = torch.empty((blocks, row), dtype=torch.int8, pin_memory=True)
    device = [torch.empty((2 * blocks, piece), dtype=torch.int8, device="cuda") for _ in range(layers)]
    flat = torch.empty((blocks, row), dtype=torch.int8, device="cuda")
    random = np.random.default_rng(1)
    rows, places = random.permutation(blocks), random.permutation(2 * blocks)[:blocks]
    sources = host.data_ptr() + rows[None, :] * row + np.arange(layers)[:, None] * piece
    bases = np.array([tensor.data_ptr() for tensor in device])
    targets = bases[:, None] + places[None, :] * piece
    print("layers evenly apart:", len(set(np.diff(bases).tolist())) == 1, flush=True)
    num_bytes = blocks * row

    def table(order: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        turned = [array if order == "layer" else array.T for array in (sources, targets)]
        pairs = [torch.from_numpy(array.ravel().astype(np.int64)) for array in turned]
        sizes = torch.full((blocks * layers,), piece, dtype=torch.int64)
        return pairs[0].pin_memory(), pairs[1].pin_memory(), sizes.pin_memory()

    told = [measured("one copy, in", num_bytes, lambda: flat.copy_(host, non_blocking=True))]
    told.append(measured("one copy, out", num_bytes, lambda: host.copy_(flat, non_blocking=True)))
    for order in ("layer", "block"):
        host_table, device_table, sizes = table(order)
        for way, src, dst in (("in", host_table, device_table), ("out", device_table, host_table)):

            def batch(s: Any = src, d: Any = dst, z: Any = sizes, way: str = way) -> None:
                ops.swap_blocks_batch(s, d, z, is_src_access_order_any=way == "in")

            told.append(measured(f"batch of copies, {way}, {order} by {order}", num_bytes, batch))
            for programs in (2, 4, 8, 12, 16, 24, 32):

                def kernel(s: Any = src, d: Any = dst, z: Any = sizes, programs: int = programs) -> None:
                    moved = [part.to("cuda", non_blocking=True) for part in (s, d, z)]
                    _swap_blocks_kernel[(programs,)](*moved, s.numel(), BYTES_PER_CHUNK=8192)

                told.append(measured(f"kernel of {programs} programs, {way}, {order} by {order}", num_bytes, kernel))
    for one in told:
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2_048)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--piece", type=int, default=64)
    options = parser.parse_args()
    # Not the default stream: the driver takes no batches there, and each copy would be a call of its own.
    with torch.cuda.stream(torch.cuda.Stream()):
        main(options.blocks, options.layers, options.piece * 1024)
