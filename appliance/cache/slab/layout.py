"""What stands in a slab: one page about the file, then rows of one page of header and the payload behind it.

A header proves itself and its payload: its digest is keyed by the file's own secret and holds the row's number, so that
neither a torn row, nor one of a slab that was here before, nor one that a disk wrote to the wrong place is taken for
whole.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from appliance.cache.arena.tables import KEY_WORDS, Keys, Numbers

PAGE: Final = 4096
"""Direct I/O wants offsets, lengths and memory to be multiples of it."""
VERSION: Final = 1
DIGEST_BYTES: Final = 16
IDENTITY_BYTES: Final = 32

_FILE_MAGIC: Final = 0x44424F58534C4142
_ROW_MAGIC: Final = 0x44424F58524F5753

FILE_HEADER: Final = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u8"),
        ("num_rows", "<i8"),
        ("row_bytes", "<i8"),
        ("identity", "u1", IDENTITY_BYTES),
        ("secret", "u1", 32),
        ("digest", "u1", DIGEST_BYTES),
    ]
)
ROW_HEADER: Final = np.dtype(
    [
        ("magic", "<u8"),
        ("version", "<u8"),
        ("row", "<i8"),
        ("payload_bytes", "<i8"),
        ("generation", "<i8"),
        ("last_use_ms", "<i8"),
        ("duration_ms", "<i8"),
        ("priority", "<i8"),
        ("key", "<u8", KEY_WORDS),
        ("parent", "<u8", KEY_WORDS),
        ("payload_digest", "u1", DIGEST_BYTES),
        ("digest", "u1", DIGEST_BYTES),
    ]
)
Records = NDArray[np.void]
"""Row headers, one element each."""


class Shape(NamedTuple):
    """`row_bytes` of payload are in a row: a multiple of PAGE. What `identity` (32 bytes) says makes blocks of equal
    keys differ; a slab of another identity holds nothing of use."""

    num_rows: int
    row_bytes: int
    identity: bytes

    @property
    def stride(self) -> int:
        return PAGE + self.row_bytes

    @property
    def num_bytes(self) -> int:
        return PAGE + self.num_rows * self.stride

    def offset(self, row: int) -> int:
        return PAGE + row * self.stride

    @staticmethod
    def rows_in(num_bytes: int, row_bytes: int) -> int:
        """How many rows a file of this size has room for."""
        return max(0, (num_bytes - PAGE) // (PAGE + row_bytes))


class FileHeader(NamedTuple):
    shape: Shape
    secret: bytes


def encode_file(header: FileHeader) -> bytes:
    """One page."""
    record = np.zeros(1, FILE_HEADER)
    record["magic"], record["version"] = _FILE_MAGIC, VERSION
    record["num_rows"], record["row_bytes"] = header.shape.num_rows, header.shape.row_bytes
    record["identity"] = np.frombuffer(header.shape.identity, np.uint8)
    record["secret"] = np.frombuffer(header.secret, np.uint8)
    body = record.tobytes()[:-DIGEST_BYTES]
    return (body + sha256(body).digest()[:DIGEST_BYTES]).ljust(PAGE, b"\0")


def decode_file(page: bytes) -> FileHeader | None:
    """`None` for a page that says something else, or was not written whole."""
    raw = page[: FILE_HEADER.itemsize]
    if len(raw) < FILE_HEADER.itemsize or sha256(raw[:-DIGEST_BYTES]).digest()[:DIGEST_BYTES] != raw[-DIGEST_BYTES:]:
        return None
    record = np.frombuffer(raw, FILE_HEADER)[0]
    if record["magic"] != _FILE_MAGIC or record["version"] != VERSION:
        return None
    shape = Shape(int(record["num_rows"]), int(record["row_bytes"]), record["identity"].tobytes())
    return FileHeader(shape, record["secret"].tobytes())


class Facts(NamedTuple):
    """What is written down of blocks besides their bytes, one element each. Times are of the wall clock: they outlast
    the machine's."""

    keys: Keys
    parents: Keys
    """Of the blocks before them, zeros for none."""
    generations: Numbers
    """No two writes have the same; of two rows with one key the later one counts."""
    last_uses_ms: Numbers
    priorities: Numbers
    durations_ms: Numbers

    def at(self, places: slice | NDArray[Any]) -> Facts:
        """Of some of the blocks only."""
        return Facts(
            self.keys[places],
            self.parents[places],
            self.generations[places],
            self.last_uses_ms[places],
            self.priorities[places],
            self.durations_ms[places],
        )


def encode_row(row: int, facts: Facts, payload: Any, secret: bytes) -> bytes:
    """The header of one row; `facts` are of one block."""
    record = np.zeros(1, ROW_HEADER)
    record["magic"], record["version"], record["row"] = _ROW_MAGIC, VERSION, row
    record["payload_bytes"] = len(payload)
    record["key"], record["parent"], record["generation"] = facts.keys, facts.parents, facts.generations
    record["last_use_ms"], record["duration_ms"] = facts.last_uses_ms, facts.durations_ms
    record["priority"] = facts.priorities
    record["payload_digest"] = np.frombuffer(payload_digest(payload), np.uint8)
    body = record.tobytes()[:-DIGEST_BYTES]
    return body + blake3(body, key=secret).digest(length=DIGEST_BYTES)


def decode_row(page: Any, row: int, secret: bytes) -> Any:
    """The record in a row's header, or `None` where no header of this slab and this row was written whole."""
    raw = bytes(page[: ROW_HEADER.itemsize])
    if raw.startswith(bytes(8)) or len(raw) < ROW_HEADER.itemsize:
        return None
    if blake3(raw[:-DIGEST_BYTES], key=secret).digest(length=DIGEST_BYTES) != raw[-DIGEST_BYTES:]:
        return None
    record = np.frombuffer(raw, ROW_HEADER)[0]
    return record if (record["magic"], record["version"], record["row"]) == (_ROW_MAGIC, VERSION, row) else None


def payload_digest(payload: Any) -> bytes:
    """Runs without Python's lock."""
    return blake3(payload).digest(length=DIGEST_BYTES)
