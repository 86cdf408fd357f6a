"""The laws of `Index`. A new implementation joins `IMPLEMENTATIONS` and must pass all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from appliance.router.errors import IntegrityError
from appliance.router.index import Index, PrefixIndex

IMPLEMENTATIONS: list[Callable[[], Index]] = [PrefixIndex]

workers = st.integers(0, 3)
hash_lists = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 2**63, 2**64 - 1]), max_size=6)


@pytest.fixture(params=IMPLEMENTATIONS)
def make_index(request: pytest.FixtureRequest) -> Callable[[], Index]:
    make: Callable[[], Index] = request.param
    return make


@pytest.fixture
def index(make_index: Callable[[], Index]) -> Index:
    return make_index()


def test_a_match_is_the_number_of_leading_blocks_held(index: Index) -> None:
    index.store(0, [1, 2, 3])
    index.store(1, [1, 2])
    index.store(2, [9])
    assert dict(index.match([1, 2, 3, 4])) == {0: 3, 1: 2}


def test_a_block_behind_a_missing_one_is_not_matched(index: Index) -> None:
    index.store(0, [1, 3])
    assert dict(index.match([1, 2, 3])) == {0: 1}
    assert dict(index.match([2, 3])) == {}


def test_children_match_again_when_their_parent_is_back(index: Index) -> None:
    index.store(0, [1, 2, 3])
    index.remove(0, [1])
    assert dict(index.match([1, 2, 3])) == {}
    index.store(0, [1])
    assert dict(index.match([1, 2, 3])) == {0: 3}


def test_nothing_matches_an_empty_prompt(index: Index) -> None:
    index.store(0, [1])
    assert dict(index.match([])) == {}


def test_storing_twice_is_storing_once(index: Index) -> None:
    index.store(0, [1, 1])
    index.store(0, [1])
    assert index.num_blocks(0) == 1
    index.remove(0, [1])
    assert index.num_blocks(0) == 0


def test_removing_an_unknown_block_is_counted_and_changes_nothing(index: Index) -> None:
    index.store(0, [1])
    index.remove(0, [2, 3])
    index.remove(7, [1])
    assert index.unknown_removals == 3
    assert dict(index.match([1])) == {0: 1}


def test_clearing_touches_one_worker(index: Index) -> None:
    index.store(0, [1])
    index.store(1, [1])
    index.clear(0)
    index.clear(5)
    assert dict(index.match([1])) == {1: 1}
    assert index.unknown_removals == 0


class TwinMachine(RuleBasedStateMachine):
    """Runs an index beside the most naive account there is: a list of (worker, hash) pairs."""

    def __init__(self, index: Index) -> None:
        super().__init__()
        self.index = index
        self.pairs: list[tuple[int, int]] = []
        self.unknown = 0

    @rule(worker=workers, hashes=hash_lists)
    def store(self, worker: int, hashes: list[int]) -> None:
        self.index.store(worker, hashes)
        for block_hash in hashes:
            if (worker, block_hash) not in self.pairs:
                self.pairs.append((worker, block_hash))

    @rule(worker=workers, hashes=hash_lists)
    def remove(self, worker: int, hashes: list[int]) -> None:
        self.index.remove(worker, hashes)
        for block_hash in hashes:
            if (worker, block_hash) in self.pairs:
                self.pairs.remove((worker, block_hash))
            else:
                self.unknown += 1

    @rule(worker=workers)
    def clear(self, worker: int) -> None:
        self.index.clear(worker)
        self.pairs = [pair for pair in self.pairs if pair[0] != worker]

    @rule(hashes=hash_lists)
    def match(self, hashes: list[int]) -> None:
        expected = {}
        for worker in range(4):
            depth = 0
            while depth < len(hashes) and (worker, hashes[depth]) in self.pairs:
                depth += 1
            if depth:
                expected[worker] = depth
        assert dict(self.index.match(hashes)) == expected

    @invariant()
    def agrees(self) -> None:
        self.index.check_integrity()
        assert self.index.unknown_removals == self.unknown
        for worker in range(4):
            assert self.index.num_blocks(worker) == sum(1 for pair in self.pairs if pair[0] == worker)


def test_an_index_agrees_with_its_brute_force_twin(make_index: Callable[[], Index]) -> None:
    class Machine(TwinMachine):
        def __init__(self) -> None:
            super().__init__(make_index())

    run_state_machine_as_test(Machine)


def test_the_check_finds_a_worker_listed_without_blocks() -> None:
    index = PrefixIndex()
    index._held[3] = set()
    with pytest.raises(IntegrityError, match="worker 3"):
        index.check_integrity()
