from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.router.engine_blocks import EngineBlocks
from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.kernels import KNOWN, USED


def of(*hashes: int) -> Hashes:
    return np.array(hashes, np.uint64)


def test_a_known_hash_keeps_its_first_meaning() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10, 11), of(1, 2))
    own_hashes = of(7, 8)
    assert blocks.add(of(11, 12), own_hashes).tolist() == [False, True]
    assert own_hashes.tolist() == [2, 8]
    assert (blocks.own_hash(11), blocks.own_hash(12), blocks.own_hash(13)) == (2, 8, None)


def test_what_a_block_meant_is_known_for_some_time_after_it_has_gone() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10), of(7))
    blocks.drop(of(10))
    assert (blocks.own_hash(10), blocks.last_own_hash(10), blocks.last_own_hash(11)) == (None, 7, None)
    blocks.clear()
    assert blocks.last_own_hash(10) == 7
    for first in range(100, 100 + 4096, 64):
        names = of(*range(first, first + 64))
        blocks.add(names, names)
        assert blocks.last_own_hash(first) == first
        blocks.drop(names)
    assert blocks.last_own_hash(10) is None


def test_a_block_is_gone_with_its_last_copy() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10, 10, 11), of(1, 1, 2))
    gone, unknown = blocks.drop(of(10, 11, 12))
    assert (gone.tolist(), unknown, blocks.num_copies, len(blocks)) == ([2], 1, 1, 1)


def test_it_costs_32_bytes_in_each_of_two_to_four_rows_for_a_block() -> None:
    blocks = EngineBlocks()
    hashes = np.arange(65536, dtype=np.uint64)
    blocks.add(hashes, hashes.copy())
    assert 2 * 32 <= sum(array.nbytes for array in blocks._arrays) / 65536 < 4 * 32 + 0.1


def test_the_check_finds_a_wrong_count() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10), of(1))
    blocks._arrays.state[KNOWN] = 2
    with pytest.raises(IntegrityError, match="1 known, 2 counted"):
        blocks.check_integrity()
    blocks._arrays.state[USED] = 2
    with pytest.raises(IntegrityError, match="1 rows to be found, 2 counted"):
        blocks.check_integrity()


def test_a_block_that_an_engine_calls_by_two_names_is_found_by_both() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10, 11, 12), of(1, 1, 2))
    blocks.drop(of(12))
    assert sorted(blocks.engine_hashes(of(1, 2, 3)).tolist()) == [10, 11]
    assert blocks.engine_hashes(of(2)).tolist() == []


def test_a_block_that_comes_back_may_mean_another() -> None:
    blocks = EngineBlocks()
    blocks.add(of(10), of(1))
    blocks.drop(of(10))
    assert (len(blocks), blocks.own_hash(10)) == (0, None)
    assert blocks.add(of(10), of(2)).tolist() == [True]
    assert blocks.own_hash(10) == 2


def test_rows_of_blocks_that_are_gone_make_room() -> None:
    blocks = EngineBlocks()
    blocks.add(of(7), of(8))
    for start in range(0, 50_000, 1000):
        hashes = np.arange(start, start + 1000, dtype=np.uint64) << np.uint64(20)
        blocks.add(hashes, hashes.copy())
        assert blocks.drop(hashes)[1] == 0
        blocks.check_integrity()
    assert (len(blocks), blocks.own_hash(7), len(blocks._arrays.rows)) == (1, 8, 2048)


hash_lists = st.lists(st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1]), max_size=6)


class TwinMachine(RuleBasedStateMachine):
    """Beside a counter and a dictionary. An engine hash stands for itself, turned over."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = EngineBlocks()
        self.copies: Counter[int] = Counter()

    @rule(hashes=hash_lists)
    def add(self, hashes: list[int]) -> None:
        is_new = [name not in hashes[:place] and not self.copies[name] for place, name in enumerate(hashes)]
        assert self.blocks.add(of(*hashes), ~of(*hashes)).tolist() == is_new
        self.copies.update(hashes)

    @rule(hashes=hash_lists)
    def drop(self, hashes: list[int]) -> None:
        expected, unknown = [], 0
        for name in hashes:
            unknown += not self.copies[name]
            if self.copies[name] == 1:
                expected.append(name)
            self.copies[name] = max(0, self.copies[name] - 1)
        gone, num_unknown = self.blocks.drop(of(*hashes))
        assert ((~gone).tolist(), num_unknown) == (expected, unknown)

    @rule()
    def clear(self) -> None:
        self.blocks.clear()
        self.copies.clear()

    @invariant()
    def agrees(self) -> None:
        self.blocks.check_integrity()
        held = +self.copies
        assert (len(self.blocks), self.blocks.num_copies) == (len(held), held.total())
        assert set((~self.blocks.own_hashes()).tolist()) == set(held)
        assert all(self.blocks.own_hash(name) == name ^ (2**64 - 1) for name in held)
        assert sorted(self.blocks.engine_hashes(~of(0, 2, 5, 2**63)).tolist()) == sorted(held.keys() & {0, 2, 5, 2**63})


TestEngineBlocks = TwinMachine.TestCase
