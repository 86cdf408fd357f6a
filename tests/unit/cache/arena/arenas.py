"""Arenas for tests, in a folder instead of shared memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import Geometry, Keys

ROW_BYTES = 4096


def opened(folder: Path, num_rows: int = 8, token: bytes | None = b"a" * 16, *, num_sessions: int = 4) -> ArenaIndex:
    """Another way into the arena of this folder, which is made by the first."""
    place = ArenaPlace(folder / "memory", folder / "locks")
    index = ArenaIndex.open(place, Geometry(num_rows, ROW_BYTES, num_sessions))
    if token is not None:
        index.join(token)
    return index


def key(number: int) -> list[int]:
    """Those of equal remainder by 4 collide in the table."""
    return [number % 4, number, number * 7 + 1, 2**63 + number]


def keys(*numbers: int) -> Keys:
    return np.array([key(number) for number in numbers], np.uint64).reshape(-1, 4)


def worth(count: int, priority: int = 35, duration_ms: int = 0) -> Worth:
    return Worth(np.full(count, priority, np.int64), np.full(count, duration_ms, np.int64))


def parents(*numbers: int | None) -> Keys:
    return np.array([[0] * 4 if number is None else key(number) for number in numbers], np.uint64).reshape(-1, 4)


def store(index: ArenaIndex, *numbers: int, session: str | None = None, priority: int = 35) -> list[int]:
    """Blocks that come behind one another; the rows that were written."""
    wanted = keys(*numbers)
    rows = index.begin_store(wanted)
    before = parents(None, *numbers[:-1])
    index.end_store(wanted, before, session, worth(len(wanted), priority), is_whole=True)
    return [row for row in rows.tolist() if row >= 0]


def held(index: ArenaIndex, *numbers: int) -> list[int]:
    """Which of these are there, by a lookup that leaves no lease."""
    rows = index.look_up(keys(*numbers), stops_at_miss=False)
    index.release(rows[rows >= 0])
    return [number for number, row in zip(numbers, rows.tolist(), strict=True) if row >= 0]
