"""A remote store as the keeper uses it: blocks written, brought back, and asked for in vain.

`python -m benchmarks.remote_store URL [--row-bytes N] [--rows N]`: an arena in a temporary folder is filled, written to
the store, and brought back five times; then prompts of 2,000 blocks that nobody has are asked for. Medians, in MiB a
second and in milliseconds. What is written stays in the
store, under an identity that no model has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import Geometry, Keys, mapped
from appliance.keeper.keeper import Keeper
from appliance.keeper.remote.remote import Remote
from appliance.keeper.remote.stores import Limits, open_store
from appliance.keeper.tiers import Near

ROUNDS: Final = 5
COLD_BLOCKS: Final = 2000
PATIENCE_SECONDS: Final = 60.0
MIB: Final = 2**20


def keys_of(seed: int, count: int) -> Keys:
    return np.random.default_rng(seed).integers(0, 2**63, (count, 4)).astype(np.uint64)


def filled(near: Near, keys: Keys) -> None:
    rows = near.arena.begin_store(keys)
    for number, row in enumerate(rows.tolist()):
        near.row(row)[:] = np.random.default_rng(number).bytes(near.row_bytes)
    parents = np.concatenate([np.zeros((1, 4), np.uint64), keys[:-1]])
    worth = Worth(np.full(len(keys), 35, np.int64), np.zeros(len(keys), np.int64))
    near.arena.end_store(keys, parents, None, worth, is_whole=True)


async def brought(keeper: Keeper, keys: Keys) -> tuple[int, float]:
    """How many blocks, in how many seconds."""
    began = time.perf_counter()
    count = sum([len(part) async for part in keeper.promote(keys.tobytes(), PATIENCE_SECONDS)])
    return count, time.perf_counter() - began


async def measure(url: str, folder: Path, num_rows: int, row_bytes: int) -> dict[str, float]:
    arena = ArenaIndex.open(ArenaPlace(folder / "m", folder / "l"), Geometry(num_rows + 64, row_bytes, 4))
    arena.join(b"k" * 16)
    near = Near(arena, mapped(arena.place.rows_file, (num_rows + 64) * row_bytes))
    limits = Limits(timeout_seconds=10.0, connections=8)
    remote = Remote(near, open_store(url, limits), limits)
    keeper, keys = Keeper(near, remote=remote), keys_of(time.time_ns(), num_rows)
    filled(near, keys)
    if (writing := keeper.to_remote) is None:
        raise SystemExit("a keeper with a remote store writes to it")
    writing.follow()
    began = time.perf_counter()
    while writing.num_queued:
        await writing.write_batch()
    write_seconds = time.perf_counter() - began
    reads, colds = [], []
    for number in range(ROUNDS):
        arena.flush()
        count, seconds = await brought(keeper, keys)
        if count != num_rows:
            raise SystemExit(f"{count} of {num_rows} blocks came: {remote.counts}")
        reads.append(seconds)
        colds.append((await brought(keeper, keys_of(number, COLD_BLOCKS)))[1])
    keeper.close()
    return {
        "write_mib_s": num_rows * row_bytes / MIB / write_seconds,
        "read_mib_s": num_rows * row_bytes / MIB / statistics.median(reads),
        "cold_prompt_ms": 1000 * statistics.median(colds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--row-bytes", type=int, default=MIB)
    parser.add_argument("--rows", type=int, default=96)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(measure(options.url, Path(folder), options.rows, options.row_bytes))
    print(json.dumps({name: round(value, 2) for name, value in told.items()}))


if __name__ == "__main__":
    main()
