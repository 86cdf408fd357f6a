"""The KV cache events that a vLLM worker publishes, as they look on the wire.

A batch is a msgpack array `[timestamp, events, data_parallel_rank]`; an event is a map with its type under `"type"`.
Only the fields that the router reads are declared; others are skipped. Stored hashes and tokens go from the wire into
flat arrays without a Python object each.
"""

from __future__ import annotations

from array import array
from typing import Annotated, Any, NamedTuple, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from appliance.router.compiled import kernel
from appliance.router.errors import UndecodableBatch

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
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


class BlockRemoved(msgspec.Struct, frozen=True, tag=True):
    """Blocks left the cache, one copy of each. vLLM sends an event for each block."""

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


class _WireStored(msgspec.Struct, tag="BlockStored"):
    block_hashes: msgspec.Raw
    parent_block_hash: EngineHash | None
    token_ids: msgspec.Raw
    block_size: int
    medium: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


_WireEvent = _WireStored | BlockRemoved | AllBlocksCleared


class _WireBatch(msgspec.Struct, array_like=True):
    timestamp_seconds: float
    events: list[_WireEvent]
    data_parallel_rank: int | None = None


class _LooseBatch(msgspec.Struct, array_like=True):
    timestamp_seconds: float
    events: list[msgspec.Raw]
    data_parallel_rank: int | None = None


class _Tagged(msgspec.Struct):
    type: str


_batch_decoder = msgspec.msgpack.Decoder(_WireBatch)
_loose_decoder = msgspec.msgpack.Decoder(_LooseBatch)
_tag_decoder = msgspec.msgpack.Decoder(_Tagged)
_event_decoder: msgspec.msgpack.Decoder[_WireEvent] = msgspec.msgpack.Decoder(_WireEvent)
_hash_decoder: msgspec.msgpack.Decoder[list[EngineHash]] = msgspec.msgpack.Decoder(list[EngineHash])
_token_decoder: msgspec.msgpack.Decoder[list[Token]] = msgspec.msgpack.Decoder(list[Token])
_KNOWN_TYPES = frozenset(("BlockStored", "BlockRemoved", "AllBlocksCleared"))


def decode_batch(payload: bytes) -> Batch:
    """Events of an unknown type are counted and skipped, unknown fields ignored.

    Raises `UndecodableBatch` when the payload is no batch, or a known event lacks a field or has a wrong type.
    """
    try:
        timestamp_seconds, events, unknown_events = _decode(payload)
        return Batch(timestamp_seconds, tuple(map(_flat, events)), unknown_events)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableBatch(f"KV event payload of {len(payload)} bytes: {error}") from error


def flat_hashes(block_hashes: list[EngineHash]) -> NDArray[np.uint64]:
    """Their low 64 bits."""
    numbers = block_hashes if _are_numbers(block_hashes) else map(short_hash, block_hashes)
    return np.frombuffer(array("Q", numbers), np.uint64)


def short_hash(block_hash: int | bytes) -> int:
    """The low 64 bits, which is also how vLLM shortens a hash that it sends as a number."""
    if isinstance(block_hash, bytes):
        return int.from_bytes(block_hash[-8:], "big")
    return block_hash


def _are_numbers(block_hashes: list[EngineHash]) -> TypeGuard[list[int]]:
    return bytes not in set(map(type, block_hashes))


def _decode(payload: bytes) -> tuple[float, list[_WireEvent], int]:
    try:
        batch = _batch_decoder.decode(payload)
    except msgspec.ValidationError:
        loose = _loose_decoder.decode(payload)
        known = [raw for raw in loose.events if _tag_decoder.decode(raw).type in _KNOWN_TYPES]
        events = [_event_decoder.decode(raw) for raw in known]
        return loose.timestamp_seconds, events, len(loose.events) - len(events)
    return batch.timestamp_seconds, batch.events, 0


def _flat(event: _WireEvent) -> KVEvent:
    if not isinstance(event, _WireStored):
        return event
    parent = event.parent_block_hash
    return BlockStored(
        _flat_hashes(event.block_hashes),
        None if parent is None else short_hash(parent),
        _flat_tokens(event.token_ids),
        event.block_size,
        event.medium,
        event.extra_keys,
        event.group_idx,
        event.kv_cache_spec_kind,
    )


def _flat_hashes(raw: msgspec.Raw) -> array[int]:
    numbers = _numbers("Q", np.dtype(np.uint64), raw)
    return array("Q", map(short_hash, _hash_decoder.decode(raw))) if numbers is None else numbers


def _flat_tokens(raw: msgspec.Raw) -> array[int]:
    numbers = _numbers("I", np.dtype(np.uint32), raw)
    return array("I", _token_decoder.decode(raw)) if numbers is None else numbers


def _numbers(typecode: str, dtype: np.dtype[Any], raw: msgspec.Raw) -> array[int] | None:
    """`None` when `raw` is anything but a msgpack array of unsigned numbers that fit."""
    data = np.frombuffer(bytearray(raw), np.uint8)
    count, start = array_header(data)
    if not 0 <= count <= data.size:
        return None
    numbers = array(typecode, bytes(count * dtype.itemsize))
    return numbers if read_numbers(data, start, np.frombuffer(numbers, dtype)) else None


@kernel
def array_header(data: NDArray[np.uint8]) -> tuple[int, int]:
    """How many items the msgpack array at the start of `data` has, -1 if none is there, and where the first begins."""
    kind = int(data[0])
    if 0x90 <= kind <= 0x9F:
        return kind - 0x90, 1
    size = 2 if kind == 0xDC else 4
    if kind not in (0xDC, 0xDD) or data.size <= size:
        return -1, 0
    count = 0
    for place in range(1, size + 1):
        count = count << 8 | int(data[place])
    return count, size + 1


@kernel
def read_numbers(data: NDArray[np.uint8], start: int, numbers: NDArray[Any]) -> bool:
    """Fill `numbers` from the unsigned msgpack numbers that begin at `start`. False when there is anything else."""
    place = start
    for index in range(numbers.size):
        if place >= data.size:
            return False
        kind = int(data[place])
        place += 1
        if kind < 0x80:
            numbers[index] = kind
            continue
        if not 0xCC <= kind <= 0xCF:
            return False
        size = 1 << (kind - 0xCC)
        if size > numbers.itemsize or place + size > data.size:
            return False
        value = np.uint64(0)
        for _ in range(size):
            value = value << np.uint64(8) | np.uint64(data[place])
            place += 1
        numbers[index] = value
    return True
