"""Compiles what runs on an arena, before a request waits for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from appliance.cache import warming
from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import KEY_WORDS, Geometry

_ROWS = 4


@cache
def warm_up() -> None:
    """Run every kernel once in this process, those of the eviction core too, on an arena of a few rows."""
    warming.warm_up()
    with TemporaryDirectory(prefix="dynamo-box-") as folder:
        place = ArenaPlace(Path(folder) / "memory", Path(folder) / "lock")
        index = ArenaIndex.open(place, Geometry(_ROWS, 4096, 4))
        index.join(b"w" * 16)
        keys = np.arange(1, 2 * _ROWS * KEY_WORDS + 1, dtype=np.uint64).reshape(-1, KEY_WORDS)
        head, tail = keys[:_ROWS], keys[_ROWS:]
        worth = Worth(np.full(_ROWS, 50, np.int64), np.full(_ROWS, 1000, np.int64))
        index.begin_store(head)
        index.end_store(head, np.zeros_like(head), "warm", worth, is_whole=True)
        rows = index.look_up(head)
        index.lease(rows, "warm", worth)
        index.release(index.rows_of(head))
        index.release(rows)
        index.set_keeps({"warm": 1.0})
        index.begin_store(tail)
        index.give_up()
        index.reap()
        index.finish(["warm"])
        index.flush()
        index.check_integrity()
        index.close()
