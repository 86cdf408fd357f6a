"""The eviction core's arrays in one piece of memory, private or shared.

The memory starts with `HEADER`, which alone says how large the arrays after it are and where they start, at multiples
of 64 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import LayoutMismatch
from appliance.cache.layout import (
    BLOCK,
    BUCKET,
    CHANGE,
    CLAIM,
    ENDS,
    HEADER,
    LEVEL,
    LINK,
    NO_SESSION,
    NUM_BUCKETS,
    NUM_LEVELS,
    SESSION,
    STATE,
    TIMER,
    WHEEL_LEVELS,
    WHEEL_SLOTS,
    Rows,
)
from appliance.cache.sources import SOURCES_DIGEST

_CACHE_LINE_BYTES = 64
_MAGIC = 0x45564943


class Tables(NamedTuple):
    """The arrays as numpy sees them, all views of one buffer; sessions with row -1 first."""

    header: Rows
    state: Rows
    buckets: Rows
    sessions: Rows
    blocks: Rows
    lists: Rows
    claims: Rows
    """`claims_per_block` rows a block."""
    claims_of: Rows
    """A list for each session and level."""
    claimed: Rows
    """Links of the lists of blocks with a claim above the default, the one claimed longest ago first."""
    claimed_ends: Rows
    timers: Rows
    wheel: Rows
    levels: Rows
    changes: Rows
    """Work space: the blocks whose effective priority a call has changed so far, and room to sort them."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How many blocks, sessions and claims the arrays have room for."""

    num_blocks: int
    num_sessions: int
    claims_per_block: int

    @property
    def num_bytes(self) -> int:
        return self._places()[-1].end

    def view(self, memory: NDArray[np.uint8]) -> Tables:
        """The arrays in this memory, as they are. Raises `LayoutMismatch` when it is too small."""
        if memory.nbytes < self.num_bytes:
            raise LayoutMismatch(f"{self} needs {self.num_bytes} bytes; the buffer has {memory.nbytes}")
        return Tables(*(memory[place.start : place.end].view(place.dtype) for place in self._places()))

    def header(self) -> tuple[Any, ...]:
        starts = [place.start + place.first * place.dtype.itemsize for place in self._places()]
        return (_MAGIC, SOURCES_DIGEST.encode(), 0, self.num_blocks, self.num_sessions, self.claims_per_block, *starts)

    def _places(self) -> list[_Place]:
        """Of the arrays, in the order of `TABLES`."""
        places, start = [], 0
        for dtype, length, first in self._shapes():
            end = start + dtype.itemsize * length
            places.append(_Place(dtype, start, end, first))
            start = -(-end // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES
        return places

    def _shapes(self) -> list[tuple[np.dtype[np.void], int, int]]:
        """Type, number of rows, and which of them is row 0, of each table."""
        num_owners = self.num_sessions + 1
        return [
            (HEADER, 1, 0),
            (STATE, 1, 0),
            (BUCKET, NUM_BUCKETS, 0),
            (SESSION, num_owners, 1),
            (BLOCK, self.num_blocks, 0),
            (ENDS, NUM_BUCKETS * (2 + num_owners), 0),
            (CLAIM, self.num_blocks * self.claims_per_block, 0),
            (ENDS, self.num_sessions * NUM_LEVELS, 0),
            (LINK, self.num_blocks, 0),
            (ENDS, NUM_LEVELS, 0),
            (TIMER, self.num_blocks, 0),
            (ENDS, WHEEL_LEVELS * WHEEL_SLOTS, 0),
            (LEVEL, WHEEL_LEVELS, 0),
            (CHANGE, 2 * self.num_blocks, 0),
        ]


class _Place(NamedTuple):
    dtype: np.dtype[np.void]
    start: int
    end: int
    first: int


def create(geometry: Geometry, buffer: Any = None) -> Tables:
    """Arrays in `buffer`, or in private memory, of blocks without content, claims or holders. The lists are not made:
    that is `rebuild`'s.
    """
    memory = _private(geometry.num_bytes) if buffer is None else np.frombuffer(buffer, np.uint8)
    tables = geometry.view(memory)
    memory[: geometry.num_bytes] = 0
    tables.claims["session"] = NO_SESSION
    tables.header[0] = geometry.header()
    return tables


def attach(buffer: Any) -> Tables:
    """The arrays that another process made there. Raises `LayoutMismatch` when they are not this code's."""
    memory = np.frombuffer(buffer, np.uint8)
    if memory.nbytes < HEADER.itemsize:
        raise LayoutMismatch(f"a buffer of {memory.nbytes} bytes has no header; it needs {HEADER.itemsize}")
    header = memory[: HEADER.itemsize].view(HEADER)[0]
    if header["magic"] != _MAGIC or header["digest"] != SOURCES_DIGEST.encode():
        raise LayoutMismatch(f"the buffer holds no eviction core of layout {SOURCES_DIGEST}")
    return Geometry(*(int(header[name]) for name in ("num_blocks", "num_sessions", "claims_per_block"))).view(memory)


def _private(num_bytes: int) -> NDArray[np.uint8]:
    memory = np.empty(num_bytes + _CACHE_LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE_BYTES
    return memory[start : start + num_bytes]
