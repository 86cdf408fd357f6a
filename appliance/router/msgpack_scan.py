"""Reads numbers out of msgpack without a Python object each."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from appliance.router.compiled import kernel

Bytes = NDArray[np.uint8]

STORED: Final = np.frombuffer(b"\xa4type\xabBlockStored", np.uint8)
"""How an event of stored blocks begins, behind the byte that says how many fields it has."""
REMOVED: Final = np.frombuffer(b"\xa4type\xacBlockRemoved\xacblock_hashes\x91", np.uint8)
"""How an event of one removed block begins, behind the byte that says how many fields it has."""

NOWHERE: Final = -1


def _shapes() -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    """By a value's first byte (the msgpack specification): how many bytes it has, its first and those of its length
    included, 0 for what is no msgpack; how many values it contains; how many bytes tell its length; and how many bytes
    and values there are for each that the length counts."""
    num_bytes, items, length_bytes, bytes_each, items_each = (np.zeros(256, np.uint8) for _ in range(5))
    num_bytes[:] = 1
    num_bytes[0xC1] = 0
    items[0x80:0x90] = 2 * np.arange(16)
    items[0x90:0xA0] = np.arange(16)
    num_bytes[0xA0:0xC0] += np.arange(32, dtype=np.uint8)
    for width, *kinds in ((1, 0xC4, 0xC7, 0xD9), (2, 0xC5, 0xC8, 0xDA, 0xDC, 0xDE), (4, 0xC6, 0xC9, 0xDB, 0xDD, 0xDF)):
        length_bytes[kinds] = width
        num_bytes[kinds] += width
    num_bytes[0xC7:0xCA] += 1
    bytes_each[[*range(0xC4, 0xCA), 0xD9, 0xDA, 0xDB]] = 1
    items_each[[0xDC, 0xDD]] = 1
    items_each[[0xDE, 0xDF]] = 2
    num_bytes[[0xCA, 0xCB]] = 5, 9
    num_bytes[0xCC:0xD4] = (2, 3, 5, 9, 2, 3, 5, 9)
    num_bytes[0xD4:0xD9] = (3, 4, 6, 10, 18)
    return num_bytes, items, length_bytes, bytes_each, items_each


_BYTES, _ITEMS, _LENGTH_BYTES, _BYTES_EACH, _ITEMS_EACH = _shapes()


def bytes_of(data: Any) -> Bytes:
    """The bytes in place."""
    return np.frombuffer(data, np.uint8)


@kernel
def array_header(data: Bytes, start: int) -> tuple[int, int]:
    """How many items the msgpack array at `start` has, -1 if none is there, and where the first begins."""
    if start >= data.size:
        return -1, 0
    kind = int(data[start])
    if 0x90 <= kind <= 0x9F:
        return kind - 0x90, start + 1
    size = 2 if kind == 0xDC else 4
    if kind not in (0xDC, 0xDD) or data.size <= start + size:
        return -1, 0
    return _big_endian(data, start + 1, size), start + size + 1


@kernel
def read_numbers(data: Bytes, start: int, numbers: NDArray[Any]) -> int:
    """Fill `numbers` from the unsigned msgpack numbers that begin at `start`. Where they end; -1 when there is anything
    else."""
    place, safe = start, data.size - 4
    for index in range(numbers.size):
        if place >= data.size:
            return NOWHERE
        kind = data[place]
        if 0xCD <= kind <= 0xCE and place < safe:
            # Tokens come in either size without a pattern: one read for both, as a wrong guess takes longer than this.
            narrow = np.uint32(0xCE - kind)
            wide = (
                np.uint32(data[place + 1]) << np.uint32(24)
                | np.uint32(data[place + 2]) << np.uint32(16)
                | np.uint32(data[place + 3]) << np.uint32(8)
                | np.uint32(data[place + 4])
            )
            numbers[index] = wide >> (narrow << np.uint32(4))
            place += 5 - 2 * int(narrow)
            continue
        size = number_size(data, place)
        if size == NOWHERE or size - 1 > numbers.itemsize:
            return NOWHERE
        numbers[index] = number_at(data, place, size)
        place += size
    return place


@kernel
def number_size(data: Bytes, place: int) -> int:
    """How many bytes the unsigned number there takes, its first one included; -1 where none is, or not all of it."""
    if place >= data.size:
        return NOWHERE
    kind = int(data[place])
    if kind < 0x80:
        return 1
    size = 1 + (1 << (kind - 0xCC)) if 0xCC <= kind <= 0xCF else 0
    return size if size and place + size <= data.size else NOWHERE


@kernel
def number_at(data: Bytes, place: int, size: int) -> np.uint64:
    """The number there, which takes so many bytes."""
    if size == 1:
        return np.uint64(data[place])
    value = np.uint64(0)
    for offset in range(1, size):
        value = value << np.uint64(8) | np.uint64(data[place + offset])
    return value


@kernel
def read_removals(
    data: Bytes, start: int, opening: Bytes, ending: Bytes, hashes: NDArray[np.uint64]
) -> tuple[int, int]:
    """Fill `hashes` from events that begin at `start`, one behind the other: `opening`, a number, `ending`. How many
    there are, and where the last ends."""
    place, count = start, 0
    while count < hashes.size and is_at(data, place, opening):
        number = place + opening.size
        size = number_size(data, number)
        if size == NOWHERE or not is_at(data, number + size, ending):
            break
        hashes[count] = number_at(data, number, size)
        count += 1
        place = number + size + ending.size
    return count, place


@kernel
def skip(data: Bytes, start: int) -> int:
    """Where the value at `start` ends, whatever it is; -1 where none is, or not all of it."""
    place, left = start, 1
    while left > 0:
        if place >= data.size:
            return NOWHERE
        kind = data[place]
        width = int(_LENGTH_BYTES[kind])
        left += int(_ITEMS[kind]) - 1
        if width:
            if place + width >= data.size:
                return NOWHERE
            length = _big_endian(data, place + 1, width)
            left += length * int(_ITEMS_EACH[kind])
            place += length * int(_BYTES_EACH[kind])
        elif not _BYTES[kind]:
            return NOWHERE
        place += int(_BYTES[kind])
    return place if place <= data.size else NOWHERE


@kernel
def is_at(data: Bytes, place: int, wanted: Bytes) -> bool:
    """Whether these bytes are there."""
    if place + wanted.size > data.size:
        return False
    for offset in range(wanted.size):  # noqa: SIM110 – numba compiles no generators
        if data[place + offset] != wanted[offset]:
            return False
    return True


@kernel
def _big_endian(data: Bytes, place: int, size: int) -> int:
    value = 0
    for offset in range(size):
        value = value << 8 | int(data[place + offset])
    return value


@kernel
def is_nothing(data: Bytes, start: int, end: int) -> bool:
    """Whether the value from `start` to `end` is nil, or a list of nothing but nils."""
    count, first = array_header(data, start)
    if count < 0:
        first = start
    for place in range(first, end):  # noqa: SIM110 – numba compiles no generators
        if data[place] != 0xC0:
            return False
    return True
