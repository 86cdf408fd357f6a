from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.hashing import hash_blocks

tokens = st.lists(st.integers(0, 2**32 - 1), max_size=60)
block_sizes = st.integers(1, 8)
keys = st.lists(
    st.one_of(st.text(max_size=4), st.binary(max_size=4), st.tuples(st.text(max_size=4), st.integers(-99, 99))),
    max_size=3,
)


@given(tokens, block_sizes)
def test_only_full_blocks_have_a_hash(token_ids: list[int], block_tokens: int) -> None:
    hashes = hash_blocks(token_ids, block_tokens)
    assert len(hashes) == len(token_ids) // block_tokens
    assert all(0 <= block_hash < 2**64 for block_hash in hashes)


@given(tokens, tokens, block_sizes)
def test_two_prompts_share_hashes_exactly_as_far_as_they_share_blocks(
    left: list[int], right: list[int], block_tokens: int
) -> None:
    left_hashes, right_hashes = hash_blocks(left, block_tokens), hash_blocks(right, block_tokens)
    for depth, (left_hash, right_hash) in enumerate(zip(left_hashes, right_hashes, strict=False), start=1):
        end = depth * block_tokens
        assert (left_hash == right_hash) == (left[:end] == right[:end])


@given(tokens, tokens, block_sizes)
def test_more_tokens_never_change_the_hashes_before_them(head: list[int], tail: list[int], block_tokens: int) -> None:
    hashes = hash_blocks(head, block_tokens)
    assert hash_blocks(head + tail, block_tokens)[: len(hashes)] == hashes


@given(tokens, block_sizes, st.integers(0, 20), st.lists(keys, max_size=20))
def test_hashing_in_pieces_is_hashing_at_once(
    token_ids: list[int], block_tokens: int, cut: int, extra_keys: list[list[Any]]
) -> None:
    whole = hash_blocks(token_ids, block_tokens, extra_keys=extra_keys)
    cut = min(cut, len(whole))
    head = hash_blocks(token_ids[: cut * block_tokens], block_tokens, extra_keys=extra_keys[:cut])
    parent = head[-1] if head else None
    tail = hash_blocks(token_ids[cut * block_tokens :], block_tokens, parent=parent, extra_keys=extra_keys[cut:])
    assert head + tail == whole


@given(tokens, block_sizes, st.data())
def test_one_other_token_changes_its_block_and_all_behind_it(
    token_ids: list[int], block_tokens: int, data: st.DataObject
) -> None:
    hashes = hash_blocks(token_ids, block_tokens)
    if not hashes:
        return
    place = data.draw(st.integers(0, len(hashes) * block_tokens - 1))
    changed = list(token_ids)
    changed[place] ^= 1
    other = hash_blocks(changed, block_tokens)
    first = place // block_tokens
    assert other[:first] == hashes[:first]
    assert not set(other[first:]) & set(hashes[first:])


@given(st.lists(keys, min_size=2, max_size=2))
def test_extra_keys_tell_blocks_apart(pair: list[list[Any]]) -> None:
    left, right = (hash_blocks([1, 2], 2, extra_keys=[block_keys]) for block_keys in pair)
    assert (left == right) == (pair[0] == pair[1])


@given(keys)
def test_keys_hash_alike_before_and_after_the_wire(block_keys: list[Any]) -> None:
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(block_keys))
    assert hash_blocks([1, 2], 2, extra_keys=[received]) == hash_blocks([1, 2], 2, extra_keys=[tuple(block_keys)])


@pytest.mark.parametrize("absent", [None, [], [None], [[]], [None, ["beyond the last full block"]]])
def test_absent_keys_are_no_keys(absent: list[list[str] | None] | None) -> None:
    assert hash_blocks([1, 2, 3], 2, extra_keys=absent) == hash_blocks([1, 2, 3], 2)


def test_a_salt_on_the_first_block_separates_the_whole_prompt() -> None:
    salted = hash_blocks(range(8), 2, extra_keys=[["salt"]])
    assert not set(salted) & set(hash_blocks(range(8), 2))


def test_no_parent_is_not_the_parent_zero() -> None:
    assert hash_blocks([1], 1) != hash_blocks([1], 1, parent=0)


@pytest.mark.parametrize("token", [-1, 2**32])
def test_what_is_no_token_id_is_refused(token: int) -> None:
    with pytest.raises(struct.error):
        hash_blocks([token], 1)
