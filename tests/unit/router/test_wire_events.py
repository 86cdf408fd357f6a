from __future__ import annotations

import contextlib
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.errors import UndecodableBatch
from appliance.router.events import AllBlocksCleared, BlockRemoved, BlockStored
from appliance.router.msgpack_scan import NOWHERE, bytes_of, skip
from appliance.router.wire_events import decode_batch


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
            block_hashes=array("Q", [2**64 - 1, 255]),
            parent_block_hash=None,
            token_ids=array("I", [1, 2, 3, 4]),
            block_size=2,
            medium="GPU",
            extra_keys=[["salt", ["image", 3]], None],
            group_idx=0,
        ),
        BlockRemoved(block_hashes=array("Q", [7]), medium="GPU", group_idx=0),
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
        encoded(STORED | {"token_ids": {"a": 1}}),
        encoded(STORED | {"token_ids": None}),
        encoded(STORED | {"block_hashes": [-1]}),
        encoded(STORED | {"block_hashes": [None]}),
        encoded(STORED | {"parent_block_hash": -1}),
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


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_numbers_of_every_size_arrive(token_ids: list[int], block_hashes: list[int]) -> None:
    (event,) = decode_batch(encoded(STORED | {"token_ids": token_ids, "block_hashes": block_hashes})).events
    assert isinstance(event, BlockStored)
    assert (event.token_ids, event.block_hashes) == (array("I", token_ids), array("Q", block_hashes))


@pytest.mark.parametrize("count", [0, 15, 16, 65535, 65536])
def test_lists_of_every_length_arrive(count: int) -> None:
    (event,) = decode_batch(encoded(STORED | {"block_hashes": list(range(count))})).events
    assert isinstance(event, BlockStored)
    assert event.block_hashes == array("Q", range(count))


def test_a_hash_sent_as_bytes_is_the_number_of_its_low_64_bits() -> None:
    names = [bytes(range(32)), b"\x01\x00", 7]
    stored, removed = decode_batch(
        encoded(STORED | {"block_hashes": names}, {"type": "BlockRemoved", "block_hashes": names})
    ).events
    assert isinstance(stored, BlockStored)
    assert isinstance(removed, BlockRemoved)
    assert stored.block_hashes == removed.block_hashes
    assert stored.block_hashes == array("Q", [0x18191A1B1C1D1E1F, 256, 7])


def test_events_beside_one_of_unknown_type_are_the_same_as_without() -> None:
    alone = decode_batch(encoded(STORED))
    assert decode_batch(encoded({"type": "BlockMoved"}, STORED)) == alone._replace(unknown_events=1)


def removals(*names: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU", "group_idx": 0} | fields for name in names
    ]


def removed(*names: int, medium: str | None = "GPU", group_idx: int | None = 0) -> BlockRemoved:
    return BlockRemoved(array("Q", names), medium, group_idx)


def test_removals_that_follow_one_another_are_one() -> None:
    names = [0, 127, 128, 2**16, 2**32, 2**64 - 1]
    assert decode_batch(encoded(*removals(*names))).events == (removed(*names),)


def test_removals_that_differ_by_more_than_their_block_are_apart_and_in_order() -> None:
    events = [*removals(1, 2), STORED, *removals(3), *removals(4, 5, medium="CPU"), *removals(6, group_idx=1)]
    found = decode_batch(encoded(*events)).events
    assert found[:1] + found[2:] == (removed(1, 2), removed(3), removed(4, 5, medium="CPU"), removed(6, group_idx=1))
    assert isinstance(found[1], BlockStored)


def test_a_removal_with_a_field_that_is_wrong_is_refused_wherever_it_stands() -> None:
    for events in (removals(1, group_idx="x"), [*removals(1, 2), *removals(3, medium=5)]):
        with pytest.raises(UndecodableBatch):
            decode_batch(encoded(*events))


@given(
    st.lists(
        st.builds(
            lambda name, fields: {"type": "BlockRemoved", "block_hashes": name, **fields},
            st.lists(st.integers(0, 2**64 - 1), max_size=3),
            st.fixed_dictionaries({}, optional={"medium": st.sampled_from(["GPU", "CPU"]), "group_idx": st.just(0)}),
        ),
        max_size=20,
    )
)
def test_removals_of_every_kind_arrive_in_order(events: list[dict[str, Any]]) -> None:
    found = decode_batch(encoded(*events)).events
    told = [
        (name, event.medium, event.group_idx)
        for event in found
        if isinstance(event, BlockRemoved)
        for name in event.block_hashes
    ]
    wanted = [(name, event.get("medium"), event.get("group_idx")) for event in events for name in event["block_hashes"]]
    assert told == wanted


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=40,
)


@given(VALUES, st.binary(max_size=5))
def test_every_value_is_skipped_whole_and_one_that_is_cut_is_not(value: Any, behind: bytes) -> None:
    payload = msgspec.msgpack.encode(value)
    assert skip(bytes_of(payload + behind), 0) == len(payload)
    for cut in {len(payload) - 1, len(payload) // 2}:
        assert skip(bytes_of(payload[:cut]), 0) == NOWHERE


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 17, 255, 256, 65536])
def test_extensions_are_skipped_whole(size: int) -> None:
    payload = msgspec.msgpack.encode(msgspec.msgpack.Ext(5, bytes(size)))
    assert skip(bytes_of(payload), 0) == len(payload)
