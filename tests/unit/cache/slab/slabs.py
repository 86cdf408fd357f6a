"""Small slabs for tests: a page or two a row, payloads that follow from their block's number."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from appliance.cache.arena.index import Worth
from appliance.cache.arena.tables import Keys
from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.layout import PAGE, Facts, Shape

ROW_BYTES = 2 * PAGE
IDENTITY = b"i" * 32


def shape(num_rows: int = 8, row_bytes: int = ROW_BYTES, identity: bytes = IDENTITY) -> Shape:
    return Shape(num_rows, row_bytes, identity)


def opened(path: Path, num_rows: int = 8) -> Slab:
    return Slab.open(path, shape(num_rows))


def keys(*numbers: int) -> Keys:
    words = [[number + 1, number * 7 + 1, 2**63 + number, 5] for number in numbers]
    return np.array(words, np.uint64).reshape(-1, 4)


def parents(*numbers: int | None) -> Keys:
    rows = [np.zeros((1, 4), np.uint64) if number is None else keys(number) for number in numbers]
    return np.concatenate([np.empty((0, 4), np.uint64), *rows])


def worth(count: int, priority: int = 35, duration_ms: int = 0) -> Worth:
    return Worth(np.full(count, priority, np.int64), np.full(count, duration_ms, np.int64))


def facts(number: int, generation: int = 1, parent: int | None = None, last_use_ms: int = 1000) -> Facts:
    columns = [np.array([value], np.int64) for value in (generation, last_use_ms, 35, 0)]
    return Facts(keys(number), parents(parent), *columns)


def payload(number: int, version: int = 0) -> mmap.mmap:
    memory = buffer()
    memory[:] = np.random.default_rng([number, version]).bytes(ROW_BYTES)
    return memory


def buffer(num_bytes: int = ROW_BYTES) -> mmap.mmap:
    """Memory that begins at a page, as direct I/O wants it."""
    return mmap.mmap(-1, num_bytes)


def write(slab: Slab, index: SlabIndex, *numbers: int, priority: int = 35, duration_ms: int = 0) -> list[int]:
    """Blocks that come behind one another; the rows that were written."""
    rows = index.begin_write(keys(*numbers))
    chosen = rows >= 0
    written = index.facts(keys(*numbers), parents(None, *numbers[:-1]), worth(len(numbers), priority, duration_ms))
    for place in np.flatnonzero(chosen).tolist():
        slab.write(int(rows[place]), written.at(slice(place, place + 1)), payload(numbers[place]))
    index.finish_write(rows[chosen], written.at(chosen))
    return [row for row in rows.tolist() if row >= 0]


def held(index: SlabIndex, *numbers: int) -> list[int]:
    found = index.rows_of(keys(*numbers)).tolist()
    return [number for number, row in zip(numbers, found, strict=True) if row >= 0]
