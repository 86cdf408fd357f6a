"""What the supervisor and its keeper say to each other, over the keeper's standard input and output: msgpack, each
message behind its length. The keeper ends when its input does."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

import msgspec

from appliance.cache.slab.index import SlabStats
from appliance.keeper.disk import DiskCounts
from appliance.keeper.remote.remote import RemoteCounts
from appliance.keeper.write_through import WritingStats

MAX_FRAME: Final = 4 * 2**20
"""Bytes of a message: the keys of 130,000 blocks."""
_LENGTH_BYTES: Final = 4


class DiskPlace(msgspec.Struct, frozen=True):
    """`num_bytes` of disk at most."""

    path: str
    num_bytes: int
    write_budget: int = 0


class RemotePlace(msgspec.Struct, frozen=True):
    url: str
    timeout_seconds: float
    connections: int
    write_budget: int = 0


class KeeperSettings(msgspec.Struct, frozen=True):
    """What the keeper is told first of all. Write budgets are bytes a day, 0 for all."""

    arena_memory: str
    arena_locks: str
    disk: DiskPlace | None
    remote: RemotePlace | None = None


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Bring these blocks of one prompt into the arena; `keys` are theirs one behind the other, 32 bytes each. Somebody
    waits for so many `seconds`."""

    number: int
    keys: bytes
    seconds: float = 1.0


class Promoted(msgspec.Struct, frozen=True, tag=True):
    """The next blocks of the prompt, from its head on, are in the arena: where each was when it was asked for, as a
    `Tier`. After the last message no more can be."""

    number: int
    tiers: bytes
    is_last: bool


class Verify(msgspec.Struct, frozen=True, tag=True):
    """Read every block of the slab and check it."""

    number: int


class Flush(msgspec.Struct, frozen=True, tag=True):
    """Drop every block of the slab that is not being written."""

    number: int


class Map(msgspec.Struct, frozen=True, tag=True):
    """Show the slab in at most so many cells."""

    number: int
    cells: int


class Mapped(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Map`: see `SlabMap`. Columns with an element a cell, in this machine's order, of `filled` (i4),
    `held` (i4), `hashes` (u8) as KV events have them, `priorities` (u1), `ages_ms` (i8), `reads` (u4)."""

    number: int
    num_rows: int
    per_cell: int
    filled: bytes = b""
    held: bytes = b""
    hashes: bytes = b""
    priorities: bytes = b""
    ages_ms: bytes = b""
    reads: bytes = b""


class Checking(msgspec.Struct, frozen=True, tag=True):
    """How far a `Verify` is: blocks read, of all."""

    number: int
    seen: int
    blocks: int


class Counted(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Verify` and `Flush`: how many blocks were looked at or dropped, and of those how many were not
    what they should be."""

    number: int
    blocks: int
    bad: int


class Moved(msgspec.Struct, frozen=True, tag=True):
    """What became of blocks of the slab, oldest first: their hashes as KV events have them, eight bytes each in this
    machine's order, and a byte each, 1 for stored and 0 for gone. Unless `is_whole`, so much has moved that nothing
    that was told before counts any more."""

    hashes: bytes
    is_stored: bytes
    is_whole: bool


class Opening(msgspec.Struct, frozen=True, tag=True):
    """How far the index is rebuilt: rows seen, of all."""

    seen: int
    rows: int


class DiskStats(msgspec.Struct, frozen=True):
    counts: DiskCounts
    slab: SlabStats
    writing: WritingStats


class RemoteStats(msgspec.Struct, frozen=True):
    counts: RemoteCounts
    writing: WritingStats


class KeeperStats(msgspec.Struct, frozen=True, tag=True):
    """Told once a second; `None` for a tier that there is not."""

    disk: DiskStats | None
    remote: RemoteStats | None


Asked: TypeAlias = Promote | Verify | Flush | Map
Told: TypeAlias = Promoted | Mapped | Checking | Counted | Moved | Opening | KeeperStats

_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader, kind: Any) -> Any:
    """The next message; `None` at the end, or when what comes is none: there is no finding the next one then."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > MAX_FRAME:
            return None
        return msgspec.msgpack.decode(await reader.readexactly(length), type=kind)
    except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
        return None
