"""The KV cache events of a vLLM worker, as the router reads them."""

from __future__ import annotations

from array import array
from typing import Annotated, Any, NamedTuple

import msgspec

EngineHash = Annotated[int, msgspec.Meta(ge=0)] | bytes
"""vLLM's own name for a block: the low 64 bits of its hash, or all of it where the engine is told to send bytes."""


class BlockStored(msgspec.Struct, frozen=True):
    """Consecutive blocks entered the cache behind `parent_block_hash` (`None`: at the start of a prompt).

    `block_hashes` are unsigned 64-bit (`array("Q")`), `token_ids` unsigned 32-bit (`array("I")`).
    """

    block_hashes: array[int]
    parent_block_hash: int | None
    token_ids: array[int]
    block_size: int
    medium: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class BlockRemoved(msgspec.Struct, frozen=True):
    """Blocks left the cache, one copy of each. `block_hashes` are unsigned 64-bit (`array("Q")`)."""

    block_hashes: array[int]
    medium: str | None = None
    group_idx: int | None = None


class AllBlocksCleared(msgspec.Struct, frozen=True, tag=True):
    """The cache is empty."""


KVEvent = BlockStored | BlockRemoved | AllBlocksCleared


class Batch(NamedTuple):
    """The events of one engine step, in order. `unknown_events` counts those of a type that is not known here."""

    timestamp_seconds: float
    events: tuple[KVEvent, ...]
    unknown_events: int = 0


def short_hash(block_hash: int | bytes) -> int:
    """The low 64 bits, which is also how vLLM shortens a hash that it sends as a number."""
    if isinstance(block_hash, bytes):
        return int.from_bytes(block_hash[-8:], "big")
    return block_hash
