"""What the supervisor and its keeper say to each other, over the keeper's standard input and output: msgpack, each
message behind its length. The keeper ends when its input does."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeAlias

import msgspec

MAX_FRAME: Final = 4 * 2**20
"""Bytes of a message: the keys of 130,000 blocks."""
_LENGTH_BYTES: Final = 4


class KeeperSettings(msgspec.Struct, frozen=True):
    """As the keeper is started with, in JSON. `num_bytes` of disk at most; `write_budget` bytes a day, 0 for all."""

    arena_memory: str
    arena_locks: str
    path: str
    num_bytes: int
    write_budget: int


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Bring these blocks of one prompt into the arena; `keys` are theirs one behind the other, 32 bytes each."""

    number: int
    keys: bytes


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


class Counted(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Verify` and `Flush`: how many blocks were looked at or dropped, and of those how many were not
    what they should be."""

    number: int
    blocks: int
    bad: int


class Opening(msgspec.Struct, frozen=True, tag=True):
    """How far the index is rebuilt: rows seen, of all."""

    seen: int
    rows: int


class KeeperStats(msgspec.Struct, frozen=True, tag=True):
    """Told once a second. `rows` to `bad` are the slab's (`SlabStats`), `queued` to `write_errors` tell of writing
    (`WriteThrough`), `written_today` in bytes, `promoted` and `read_errors` of reading (`Promotions`)."""

    opened: str
    is_direct: bool
    row_bytes: int
    rows: int
    used: int
    held: int
    restored: int
    written: int
    evicted: int
    refused: int
    bad: int
    queued: int
    dropped_full: int
    dropped_budget: int
    dropped_gone: int
    write_errors: int
    written_today: int
    promoted: int
    read_errors: int


Asked: TypeAlias = Promote | Verify | Flush
Told: TypeAlias = Promoted | Counted | Opening | KeeperStats

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
