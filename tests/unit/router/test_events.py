from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.errors import UndecodableBatch
from appliance.router.events import AllBlocksCleared, BlockRemoved, BlockStored, decode_batch


def encoded(*events: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode([12.5, list(events), 0])


STORED: dict[str, Any] = {
    "type": "BlockStored",
    "block_hashes": [2**64 - 1, b"\x00\xff"],
    "parent_block_hash": None,
    "token_ids": [1, 2, 3, 4],
    "block_size": 2,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "extra_keys": [["salt", ["image", 3]], None],
    "group_idx": 0,
}


def test_a_batch_is_decoded_in_order() -> None:
    batch = decode_batch(
        encoded(
            STORED,
            {"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU", "group_idx": 0},
            {"type": "AllBlocksCleared"},
        )
    )
    assert batch.timestamp_seconds == 12.5
    assert batch.events == (
        BlockStored(
            block_hashes=[2**64 - 1, b"\x00\xff"],
            parent_block_hash=None,
            token_ids=[1, 2, 3, 4],
            block_size=2,
            medium="GPU",
            extra_keys=[["salt", ["image", 3]], None],
            group_idx=0,
        ),
        BlockRemoved(block_hashes=[7], medium="GPU", group_idx=0),
        AllBlocksCleared(),
    )
    assert batch.unknown_events == 0


def test_an_unknown_event_is_counted_and_the_rest_applies() -> None:
    batch = decode_batch(encoded({"type": "BlockMoved", "from": 1}, {"type": "AllBlocksCleared"}))
    assert batch.events == (AllBlocksCleared(),)
    assert batch.unknown_events == 1


def test_unknown_fields_are_ignored() -> None:
    assert decode_batch(encoded(STORED | {"colour": "blue"})) == decode_batch(encoded(STORED))
    assert decode_batch(msgspec.msgpack.encode([1.0, [], None, "more"])).events == ()


def test_a_batch_without_a_rank_is_a_batch() -> None:
    assert decode_batch(msgspec.msgpack.encode([1.0, []])).events == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"ts": 1.0}),
        msgspec.msgpack.encode([1.0]),
        encoded({"no type": 1}),
        encoded({"type": "BlockRemoved"}),
        encoded(STORED | {"token_ids": ["a"]}),
        encoded(STORED | {"token_ids": [-1]}),
        encoded(STORED | {"token_ids": [2**32]}),
        encoded(STORED)[:-5],
    ],
)
def test_what_is_no_batch_raises_the_named_error(payload: bytes) -> None:
    with pytest.raises(UndecodableBatch, match=f"{len(payload)} bytes"):
        decode_batch(payload)


@given(st.binary(max_size=40) | st.integers(0, 200).map(lambda cut: encoded(STORED)[:cut] + encoded(STORED)[cut + 1 :]))
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    with contextlib.suppress(UndecodableBatch):
        decode_batch(payload)
