from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router import hashing
from appliance.router.hashing import chain, root_of


def hash_blocks(token_ids: Any, block_tokens: int, **fields: Any) -> list[int]:
    """As plain numbers, to compare."""
    hashes: list[int] = hashing.hash_blocks(token_ids, block_tokens, **fields).tolist()
    return hashes


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


@given(tokens, block_sizes, st.lists(keys, max_size=20))
def test_the_compiled_chain_is_the_written_one(
    token_ids: list[int], block_tokens: int, extra_keys: list[list[Any]]
) -> None:
    hashes = hashing.hash_blocks(token_ids, block_tokens, extra_keys=extra_keys)
    extras = np.array(
        [hashing._digest(msgspec.msgpack.encode(block)) if block else 0 for block in extra_keys], np.uint64
    )
    again = np.zeros_like(hashes)
    with np.errstate(over="ignore"):
        plain: Any = chain
        plain.py_func(np.array(token_ids, np.uint32), block_tokens, np.uint64(hashing.ROOT), extras, again)
    assert np.array_equal(again, hashes)


@given(tokens, block_sizes)
def test_an_array_of_tokens_hashes_as_the_list_does(token_ids: list[int], block_tokens: int) -> None:
    expected = hash_blocks(token_ids, block_tokens)
    array = np.array(token_ids, np.uint32)
    assert hash_blocks(array, block_tokens) == expected
    array.flags.writeable = False
    assert hash_blocks(array, block_tokens) == expected
    assert hash_blocks(np.repeat(array, 2)[::2], block_tokens) == expected


def test_prompts_of_two_models_share_no_hash() -> None:
    of_models = [hash_blocks(range(8), 2, root=root_of(name)) for name in ("", "llama", "qwen")]
    assert len({name for names in of_models for name in names}) == 12
    assert of_models[0] == hash_blocks(range(8), 2)
    assert hash_blocks([1, 2], 2, parent=7, root=root_of("llama")) == hash_blocks([1, 2], 2, parent=7)


def test_hashes_of_like_prompts_are_spread_over_all_bits() -> None:
    hashes = hashing.hash_blocks(np.zeros(200_000, np.uint32), 1)
    assert len(set(hashes.tolist())) == 200_000
    bits = np.unpackbits(hashes.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert 0.49 < bits.min() <= bits.max() < 0.51
    flipped = np.bitwise_count(np.array([a ^ b for a, b in pairwise(hash_blocks(range(4000), 1))], np.uint64))
    assert 31 < flipped.mean() < 33


@pytest.mark.parametrize("token", [-1, 2**32])
def test_what_is_no_token_id_is_refused(token: int) -> None:
    with pytest.raises(OverflowError):
        hash_blocks([token], 1)
