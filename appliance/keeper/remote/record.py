"""What a remote store holds of one block: a header like that of a row of a slab, and the payload behind it.

The header's digest is keyed by the identity of the blocks, which also stands before every name: boxes that share a
store share what has the same model, configuration and engine, and nothing else.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from appliance.cache.arena.index import Worth
from appliance.cache.arena.tables import Keys
from appliance.cache.slab.layout import ROW_HEADER, Facts, decode_row, encode_row, payload_digest

HEADER_BYTES: Final = ROW_HEADER.itemsize
_ROW: Final = 0
"""A store has none."""


class Found(NamedTuple):
    """`record` is the header."""

    record: Any
    payload: memoryview


def name_of(identity: bytes, key: Any) -> str:
    """Under which a block is kept; its folders have a two-hundred-and-fifty-sixth of all blocks each."""
    told = key.tobytes().hex()
    return f"{identity.hex()}/{told[:2]}/{told}"


def encode(identity: bytes, facts: Facts, payload: memoryview) -> bytes:
    """`facts` are of one block."""
    return b"".join((encode_row(_ROW, facts, payload, identity), payload))


def decode(identity: bytes, key: Any, value: Any, row_bytes: int) -> Found | None:
    """`None` for what is not the block of this key, to the last bit."""
    view = memoryview(value)
    if len(view) != HEADER_BYTES + row_bytes:
        return None
    record, payload = decode_row(view[:HEADER_BYTES], _ROW, identity), view[HEADER_BYTES:]
    if record is None or record["payload_bytes"] != row_bytes or (record["key"] != key).any():
        return None
    if record["payload_digest"].tobytes() != payload_digest(payload):
        return None
    return Found(record, payload)


def facts_of(keys: Keys, parents: Keys, worth: Worth, wall_ms: int) -> Facts:
    count = len(keys)
    generations, uses = np.zeros(count, np.int64), np.full(count, wall_ms, np.int64)
    return Facts(keys, parents, generations, uses, worth.priorities, worth.durations_ms)
