"""A slab beside the bare disk: rows read and checked, and written, by as many threads as the keeper has.

`python -m benchmarks.slab FOLDER [--row-bytes N] [--rows N]`: in FOLDER a slab is made, filled, read in random order,
opened again, and removed. Beside it the same file is read in the same pieces by the same threads with nothing checked,
in turns, so that both see the same disk; medians. `ratio` is the bare rate by the slab's, to be at most 1.3. `promote`
is a whole prompt brought into an arena, as a request waits for it, and `promote_ratio` the bare rate by its.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import Geometry, Keys, mapped
from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import PAGE, Shape, payload_digest
from appliance.keeper.disk import READERS, WRITERS, Disk
from appliance.keeper.promotion import Promotions
from appliance.keeper.tiers import Near

ROUNDS: Final = 5
MIB: Final = 2**20


class Buffers:
    """One for each thread that asks, of a header's page and a payload."""

    def __init__(self, row_bytes: int, count: int) -> None:
        self.all = [mmap.mmap(-1, row_bytes) for _ in range(count)]
        for number, buffer in enumerate(self.all):
            buffer[:] = np.random.default_rng(number).bytes(row_bytes)


def timed(calls: list[Callable[[int], object]], threads: int) -> float:
    """Seconds until all are done; each is told which thread's buffer it may use."""
    free = list(range(threads))

    def run(call: Callable[[int], object]) -> None:
        number = free.pop()
        call(number)
        free.append(number)

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(run, calls):
            pass
        return time.perf_counter() - began


def promoted(slab: Slab, index: SlabIndex, keys: Keys) -> float:
    """Seconds until all of them are in an empty arena."""

    async def run(near: Near) -> float:
        disk = Disk(near, slab, index)
        began = time.perf_counter()
        brought = sum([len(part) async for part in Promotions(near, disk, None).promote(keys, 60.0)])
        taken = time.perf_counter() - began
        disk.readers.shutdown()
        disk.writers.shutdown()
        if brought != len(keys):
            raise SystemExit(f"{brought} of {len(keys)} rows came up")
        return taken

    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        place = ArenaPlace(Path(folder) / "memory", Path(folder) / "locks")
        shape = Geometry(len(keys) + 8, slab.shape.row_bytes)
        arena = ArenaIndex.open(place, shape)
        arena.join(os.urandom(16))
        try:
            return asyncio.run(run(Near(arena, mapped(place.rows_file, shape.num_rows * shape.row_bytes))))
        finally:
            arena.close()
            place.remove()


def measure(folder: Path, num_rows: int, row_bytes: int) -> dict[str, object]:
    shape = Shape(num_rows, row_bytes, b"b" * 32)
    slab, index = Slab.open(folder / "benchmark.slab", shape), SlabIndex(num_rows)
    numbers = np.arange(num_rows, dtype=np.uint64)
    keys = np.stack([numbers * 7 + 1, numbers, numbers, numbers], axis=1)
    parents = np.concatenate([np.zeros((1, 4), np.uint64), keys[:-1]])
    worth = Worth(np.full(num_rows, 35, np.int64), np.zeros(num_rows, np.int64))
    buffers, bare = Buffers(row_bytes, READERS).all, Buffers(row_bytes + PAGE, READERS).all
    rows = index.begin_write(keys)
    facts = index.facts(keys, parents, worth)

    def write(place: int, thread: int) -> None:
        slab.write(int(rows[place]), facts.at(slice(place, place + 1)), buffers[thread])

    def read(row: int, thread: int) -> None:
        if not slab.read(row, key_in[row], buffers[thread]):
            raise SystemExit(f"row {row} is not what was written")

    def read_bare(row: int, thread: int) -> None:
        os.preadv(raw, [bare[thread]], shape.offset(row))

    written = timed([partial(write, place) for place in range(num_rows)], WRITERS)
    index.finish_write(rows, facts)
    key_in = dict(zip(rows.tolist(), keys, strict=True))
    raw = os.open(slab.path, os.O_RDONLY | (os.O_DIRECT if slab.is_direct else 0))
    order = list(range(num_rows))
    checked, unchecked, brought = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        random.shuffle(order)
        unchecked.append(timed([partial(read_bare, row) for row in order], READERS))
        checked.append(timed([partial(read, row) for row in order], READERS))
        brought.append(promoted(slab, index, keys))
    began = time.perf_counter()
    for _ in range(20):
        payload_digest(buffers[0])
    digest = (time.perf_counter() - began) / 20
    os.close(raw)
    slab.close()
    again = Slab.open(slab.path, shape)
    began = time.perf_counter()
    restored = SlabIndex(num_rows).restore(again.scan())
    opened = time.perf_counter() - began
    again.close()
    size = num_rows * row_bytes
    return {
        "direct": slab.is_direct,
        "rows": num_rows,
        "row_bytes": row_bytes,
        "write_mb_s": round(size / written / 1e6),
        "read_mb_s": round(size / statistics.median(checked) / 1e6),
        "bare_read_mb_s": round(size / statistics.median(unchecked) / 1e6),
        "ratio": round(statistics.median(checked) / statistics.median(unchecked), 2),
        "promote_mb_s": round(size / statistics.median(brought) / 1e6),
        "promote_ratio": round(statistics.median(brought) / statistics.median(unchecked), 2),
        "digest_mb_s": round(row_bytes / digest / 1e6),
        "restored": restored,
        "open_us_per_row": round(opened / num_rows * 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--row-bytes", type=int, default=2 * MIB)
    parser.add_argument("--rows", type=int, default=512)
    given = parser.parse_args()
    try:
        print(json.dumps(measure(given.folder, given.rows, given.row_bytes), indent=1))
    finally:
        (given.folder / "benchmark.slab").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
