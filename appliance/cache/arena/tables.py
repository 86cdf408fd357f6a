"""The arrays of an arena's index, in a file that all processes map.

What is true of a row stands in `keys`, `rows` and `leases`, and in the eviction core's own facts. The hash table and
the core's lists are worked out from it, anew when a process died while it changed them.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.place import MAX_OWNERS
from appliance.cache.errors import LayoutMismatch
from appliance.cache.eviction import EvictionCore
from appliance.cache.sources import SOURCES_DIGEST

KEY_WORDS: Final = 4
Keys = NDArray[np.uint64]
"""A row of four words a key: 32 bytes that stand for a block, its prefix and everything that makes its bytes differ."""
Numbers = NDArray[np.int64]


def short_hashes(hashes: Keys) -> NDArray[np.uint64]:
    """As KV events name blocks: the last eight bytes of what engines call them, read from the left."""
    found: NDArray[np.uint64] = np.ascontiguousarray(hashes[:, -1]).byteswap()
    return found


EMPTY, WRITING, READY, QUARANTINED, RETIRED = range(5)
"""States of a row. A quarantined one may still be written by a process that was told to stop; a retired one is out of
use until it is reinstated."""
STATE, WRITER, CHECK, FREE_AT_MS, BARRED = range(5)
"""Columns of `rows`: WRITER and FREE_AT_MS mean something to WRITING and QUARANTINED rows only, CHECK tells whether the
key was written whole, BARRED has the tiers below to which the block must not go."""
IN_USE, TOKEN, SECOND_TOKEN, EPOCH = range(4)
"""Columns of `owners`."""

MAGIC: Final = 0x44424F5841524E41
(
    HEADER_MAGIC,
    HEADER_DIGEST,
    NUM_ROWS,
    ROW_BYTES,
    NUM_SESSIONS,
    BUSY,
    CLOCK,
    NUM_CHANGES,
    STORED,
    EVICTED,
    REBUILDS,
    REAPED_ROWS,
    REAPED_LEASES,
    DROPPED_STORES,
) = range(14)
"""Places in the header. BUSY is the process that is changing something, 0 for none; from STORED on: counted since the
arena was made."""
NAMESPACE: Final = 32
"""From here on in the header: four words that keys are mixed with, once an engine has said so."""
CHANGE_RING: Final = 1 << 16
"""Changes remembered for those who follow what is stored."""

_DIGEST: Final = int(SOURCES_DIGEST, 16)
_LINE_BYTES: Final = 64


class Geometry(NamedTuple):
    """How large an arena is. `num_sessions` can be told apart at a time."""

    num_rows: int
    row_bytes: int
    num_sessions: int = 1024

    @property
    def table_size(self) -> int:
        """A power of two, so that the hash table is at most half full."""
        return 1 << (2 * self.num_rows - 1).bit_length()

    @property
    def parts(self) -> dict[str, tuple[type[Any], tuple[int, ...]]]:
        core_bytes = EvictionCore.num_bytes(self.num_rows, self.num_sessions)
        return {
            "header": (np.int64, (64,)),
            "owners": (np.int64, (MAX_OWNERS, 4)),
            "session_names": (np.uint64, (self.num_sessions,)),
            "session_uses": (np.int64, (self.num_sessions,)),
            "changes": (np.uint64, (CHANGE_RING, KEY_WORDS + 1)),
            "table": (np.int64, (self.table_size,)),
            "keys": (np.uint64, (self.num_rows, KEY_WORDS)),
            "rows": (np.int64, (self.num_rows, 5)),
            "leases": (np.int64, (self.num_rows, MAX_OWNERS)),
            "core": (np.uint8, (core_bytes,)),
        }

    @property
    def num_bytes(self) -> int:
        return sum(_aligned(_size(kind, shape)) for kind, shape in self.parts.values())


class Tables(NamedTuple):
    """Views of the arrays in a file."""

    header: Numbers
    owners: Numbers
    session_names: NDArray[np.uint64]
    session_uses: Numbers
    changes: NDArray[np.uint64]
    """A ring: what became of a row (1 stored, 0 evicted), and its key."""
    table: Numbers
    """The row of a key plus 1, or 0: open addressing, linear probing, nothing deleted stays."""
    keys: Keys
    rows: Numbers
    leases: Numbers
    """How often each owner holds each row, so that a dead one's hold can be taken back."""
    core: NDArray[np.uint8]


def tables_in(memory: Any, geometry: Geometry) -> Tables:
    found: dict[str, Any] = {}
    start = 0
    for name, (kind, shape) in geometry.parts.items():
        size = _size(kind, shape)
        found[name] = np.frombuffer(memory, kind, size // np.dtype(kind).itemsize, start).reshape(shape)
        start += _aligned(size)
    return Tables(**found)


def _size(kind: type[Any], shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def _aligned(size: int) -> int:
    return -(-size // _LINE_BYTES) * _LINE_BYTES


def mapped(path: Path, num_bytes: int) -> mmap.mmap:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(file, num_bytes)
    finally:
        os.close(file)


def sign(tables: Tables, geometry: Geometry) -> None:
    """Say what the arrays are. Last of all: unsigned ones are nobody's."""
    header = tables.header
    header[NUM_ROWS], header[ROW_BYTES], header[NUM_SESSIONS] = geometry
    header[HEADER_DIGEST], header[HEADER_MAGIC] = _DIGEST, MAGIC


def read_geometry(path: Path) -> Geometry:
    """Of the arena that is there. Raises `LayoutMismatch` for one that other code has made."""
    with path.open("rb") as file:
        header = np.frombuffer(file.read(8 * 64), np.int64)
    if header.size < 64 or header[HEADER_MAGIC] != MAGIC or header[HEADER_DIGEST] != _DIGEST:
        raise LayoutMismatch(f"{path}: no arena of layout {SOURCES_DIGEST}")
    return Geometry(int(header[NUM_ROWS]), int(header[ROW_BYTES]), int(header[NUM_SESSIONS]))
