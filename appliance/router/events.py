"""The KV cache events that a vLLM worker publishes, as they look on the wire.

A batch is a msgpack array `[timestamp, events, data_parallel_rank]`; an event is a map with its type under `"type"`.
Only the fields that the router reads are declared; others are skipped.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from appliance.router.errors import UndecodableBatch

EngineHash = int | bytes
"""vLLM's own name for a block: the low 64 bits of its hash, or all of it where the engine is told to send bytes."""

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class BlockStored(msgspec.Struct, frozen=True, tag=True):
    """Consecutive blocks entered the cache behind `parent_block_hash` (`None`: at the start of a prompt)."""

    block_hashes: list[EngineHash]
    parent_block_hash: EngineHash | None
    token_ids: list[Token]
    block_size: int
    medium: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class BlockRemoved(msgspec.Struct, frozen=True, tag=True):
    """Blocks left the cache, one copy of each."""

    block_hashes: list[EngineHash]
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


class _WireBatch(msgspec.Struct, array_like=True):
    timestamp_seconds: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


class _Tagged(msgspec.Struct):
    type: str


_batch_decoder = msgspec.msgpack.Decoder(_WireBatch)
_tag_decoder = msgspec.msgpack.Decoder(_Tagged)
_event_decoder: msgspec.msgpack.Decoder[KVEvent] = msgspec.msgpack.Decoder(KVEvent)
_KNOWN_TYPES = frozenset(kind.__name__ for kind in (BlockStored, BlockRemoved, AllBlocksCleared))


def decode_batch(payload: bytes) -> Batch:
    """Events of an unknown type are counted and skipped, unknown fields ignored.

    Raises `UndecodableBatch` when the payload is no batch, or a known event lacks a field or has a wrong type.
    """
    try:
        wire = _batch_decoder.decode(payload)
        known = [raw for raw in wire.events if _tag_decoder.decode(raw).type in _KNOWN_TYPES]
        events = tuple(_event_decoder.decode(raw) for raw in known)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableBatch(f"KV event payload of {len(payload)} bytes: {error}") from error
    return Batch(wire.timestamp_seconds, events, len(wire.events) - len(events))
