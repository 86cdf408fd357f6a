"""KV cache events as they look on the wire.

A batch is a msgpack array `[timestamp, events, data_parallel_rank]`; an event is a map with its type first, under
`"type"`. Only the fields that the router reads are declared; others are skipped. Hashes and tokens go from the wire
into flat arrays without a Python object each.
"""

from __future__ import annotations

from array import array
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from appliance.router.errors import UndecodableBatch
from appliance.router.events import (
    AllBlocksCleared,
    Batch,
    BlockRemoved,
    BlockStored,
    EngineHash,
    KVEvent,
    short_hash,
)
from appliance.router.msgpack_scan import (
    NOWHERE,
    REMOVED,
    STORED,
    Bytes,
    array_header,
    bytes_of,
    is_at,
    is_nothing,
    number_size,
    read_numbers,
    read_removals,
    skip,
)

Token = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _StoredRest(msgspec.Struct, tag="BlockStored", kw_only=True):
    """A `BlockStored` without its many numbers."""

    parent_block_hash: EngineHash | None
    block_size: int
    medium: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None


class _WireStored(_StoredRest, tag="BlockStored", kw_only=True):
    block_hashes: msgspec.Raw
    token_ids: msgspec.Raw


class _WireRemoved(msgspec.Struct, tag="BlockRemoved"):
    block_hashes: msgspec.Raw
    medium: str | None = None
    group_idx: int | None = None


_WireEvent = _WireStored | _WireRemoved | AllBlocksCleared


class _Tagged(msgspec.Struct):
    type: str


_timestamp_decoder = msgspec.msgpack.Decoder(float)
_tag_decoder = msgspec.msgpack.Decoder(_Tagged)
_rest_decoder = msgspec.msgpack.Decoder(_StoredRest)
_event_decoder: msgspec.msgpack.Decoder[_WireEvent] = msgspec.msgpack.Decoder(_WireEvent)
_hash_decoder: msgspec.msgpack.Decoder[list[EngineHash]] = msgspec.msgpack.Decoder(list[EngineHash])
_token_decoder: msgspec.msgpack.Decoder[list[Token]] = msgspec.msgpack.Decoder(list[Token])
_KNOWN_TYPES: Final = frozenset(("BlockStored", "BlockRemoved", "AllBlocksCleared"))
_HASHES, _TOKENS, _EXTRAS = map(msgspec.msgpack.encode, ("block_hashes", "token_ids", "extra_keys"))


def decode_batch(payload: bytes) -> Batch:
    """Events of an unknown type are counted and skipped, unknown fields ignored. vLLM sends an event for each removed
    block: those that follow one another and differ by nothing else become one.

    Raises `UndecodableBatch` when the payload is no batch, or a known event lacks a field or has a wrong type.
    """
    try:
        return _Reader(payload).batch()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableBatch(f"KV event payload of {len(payload)} bytes: {error}") from error


class _Reader:
    """Goes through one payload, value by value. All but `batch` begin where it stands, and move on."""

    def __init__(self, payload: bytes) -> None:
        self._payload = memoryview(payload)
        self._data = bytes_of(payload)
        self._place = 0

    def batch(self) -> Batch:
        items = self._array("a batch")
        if items < 2:
            raise msgspec.ValidationError("a batch has a timestamp and events")
        timestamp_seconds = _timestamp_decoder.decode(self._next())
        events, unknown_events = self._events()
        for _ in range(items - 2):
            self._next()
        if self._place != len(self._payload):
            raise msgspec.DecodeError(f"{len(self._payload) - self._place} bytes behind it")
        return Batch(timestamp_seconds, tuple(events), unknown_events)

    def _events(self) -> tuple[list[KVEvent], int]:
        """All, and how many are left out because their type is not known."""
        left, events, unknown_events = self._array("its events"), list[KVEvent](), 0
        while left:
            removed = self._removals(left)
            event = removed or self._stored() or _event(self._next())
            left -= len(removed.block_hashes) if removed is not None else 1
            if event is None:
                unknown_events += 1
            else:
                events.append(event)
        return events, unknown_events

    def _array(self, what: str) -> int:
        """How many items the list has that begins here; the first comes next."""
        count, place = array_header(self._data, self._place)
        if count < 0:
            raise msgspec.ValidationError(f"{what} must be a list")
        self._place = place
        return count

    def _next(self) -> memoryview:
        """The next value, as it came."""
        start, end = self._place, skip(self._data, self._place)
        if end == NOWHERE:
            raise msgspec.DecodeError("it is cut short, or no msgpack")
        self._place = end
        return self._payload[start:end]

    def _removals(self, most: int) -> BlockRemoved | None:
        """One or more removals of one block each that differ by nothing else."""
        data, start, opening = self._data, self._place, 1 + REMOVED.size
        size = number_size(data, start + opening) if is_at(data, start + 1, REMOVED) else NOWHERE
        if size == NOWHERE:
            return None
        one = self._next()
        event = _event_decoder.decode(one)
        if not isinstance(event, _WireRemoved):
            return None
        hashes = array("Q", bytes(8 * most))
        ending = data[start + opening + size : self._place]
        opened = data[start : start + opening]
        count, self._place = read_removals(data, start, opened, ending, np.frombuffer(hashes, np.uint64))
        return BlockRemoved(hashes[:count], event.medium, event.group_idx)

    def _stored(self) -> BlockStored | None:
        """An event of stored blocks whose hashes and tokens are plain numbers: they are read without looking for their
        ends first, which would take as long again."""
        data, payload, place = self._data, self._payload, self._place + 1 + STORED.size
        if not is_at(data, self._place + 1, STORED) or not 0x81 <= data[self._place] <= 0x8F:
            return None
        hashes = tokens = None
        rest: list[bytes | memoryview] = [STORED.tobytes()]
        for _ in range(data[self._place] - 0x81):
            value = skip(data, place)
            if value == NOWHERE:
                return None
            name = bytes(payload[place:value])
            if name == _HASHES:
                hashes, end = _numbers(data, value, "Q")
            elif name == _TOKENS:
                tokens, end = _numbers(data, value, "I")
            else:
                end = skip(data, value)
                if name != _EXTRAS or not is_nothing(data, value, end):
                    rest.append(payload[place:end])
            if end == NOWHERE:
                return None
            place = end
        if hashes is None or tokens is None:
            return None
        self._place = place
        return _joined(_rest_decoder.decode(b"".join([bytes([0x80 + len(rest)]), *rest])), hashes, tokens)


def _event(raw: memoryview) -> KVEvent | None:
    """`None` for one of a type that is not known."""
    try:
        event = _event_decoder.decode(raw)
    except msgspec.ValidationError:
        if _tag_decoder.decode(raw).type in _KNOWN_TYPES:
            raise
        return None
    if isinstance(event, AllBlocksCleared):
        return event
    hashes = array("Q", map(short_hash, _hash_decoder.decode(event.block_hashes)))
    if isinstance(event, _WireRemoved):
        return BlockRemoved(hashes, event.medium, event.group_idx)
    return _joined(event, hashes, array("I", _token_decoder.decode(event.token_ids)))


def _joined(rest: _StoredRest, hashes: array[int], tokens: array[int]) -> BlockStored:
    parent = rest.parent_block_hash
    return BlockStored(
        hashes,
        None if parent is None else short_hash(parent),
        tokens,
        rest.block_size,
        rest.medium,
        rest.extra_keys,
        rest.group_idx,
        rest.kv_cache_spec_kind,
    )


def _numbers(data: Bytes, start: int, typecode: str) -> tuple[array[int] | None, int]:
    """The list of unsigned numbers that begins at `start`, and its end; `None` and -1 when anything else is there."""
    count, first = array_header(data, start)
    if not 0 <= count <= data.size:
        return None, NOWHERE
    numbers = array(typecode, bytes(count * array(typecode).itemsize))
    end = read_numbers(data, first, np.frombuffer(numbers, numbers.typecode))
    return (None, NOWHERE) if end == NOWHERE else (numbers, end)
