"""The laws of `Index`, for the fast one and its brute-force twin, and both beside each other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.router.errors import IndexFull, IntegrityError, UnknownParent
from appliance.router.hashing import Hashes, hash_blocks
from appliance.router.index import Depths, Index, PrefixIndex, Tier
from appliance.router.index_move import piece_for
from appliance.router.kernels import COUNTS, HELD, REACH, USED, match_blocks
from tests.unit.router.plain_index import PlainIndex

IMPLEMENTATIONS: list[Callable[[], Index]] = [PrefixIndex, PlainIndex]


@pytest.fixture(params=IMPLEMENTATIONS)
def index(request: pytest.FixtureRequest) -> Index:
    made: Index = request.param()
    return made


def of(*hashes: int) -> Hashes:
    return np.array(hashes, np.uint64)


def found(depths: Depths, tier: Tier = Tier.GPU) -> dict[int, int]:
    """By worker, those with none left out."""
    return {worker: depth for worker, depth in enumerate(depths[:, tier].tolist()) if depth}


def test_a_match_is_the_number_of_leading_blocks_held(index: Index) -> None:
    index.store(0, of(1, 2, 3))
    index.store(1, of(1, 2))
    index.store(2, of(9))
    assert found(index.match(of(1, 2, 3, 4))) == {0: 3, 1: 2}


def test_a_block_behind_a_missing_one_is_not_matched_until_that_is_back(index: Index) -> None:
    index.store(0, of(1, 2, 3, 4))
    index.remove(0, of(2))
    assert found(index.match(of(1, 2, 3, 4))) == {0: 1}
    index.remove(0, of(1))
    assert found(index.match(of(1, 2, 3, 4))) == {}
    index.store(0, of(1, 2))
    assert found(index.match(of(1, 2, 3, 4))) == {0: 4}
    assert index.num_blocks(0) == 4


def test_nothing_matches_an_empty_prompt(index: Index) -> None:
    index.store(0, of(1))
    assert found(index.match(of())) == {}


def test_prompts_part_where_their_blocks_do(index: Index) -> None:
    index.store(0, of(1, 2, 3))
    index.store(1, of(1))
    index.store(1, of(20, 30), parent=1)
    assert found(index.match(of(1, 2, 3))) == {0: 3, 1: 1}
    assert found(index.match(of(1, 20, 30))) == {0: 1, 1: 3}


def test_storing_twice_is_storing_once(index: Index) -> None:
    assert index.store(0, of(1, 2)).tolist() == [True, True]
    assert index.store(0, of(1, 2, 3)).tolist() == [False, False, True]
    assert index.num_blocks(0) == 3
    index.remove(0, of(3, 2, 1))
    assert index.num_blocks(0) == 0


def test_removing_an_unknown_block_is_counted_and_changes_nothing(index: Index) -> None:
    index.store(0, of(1))
    index.remove(0, of(2, 3))
    index.remove(7, of(1))
    assert index.unknown_removals == 3
    assert found(index.match(of(1))) == {0: 1}


def test_clearing_touches_one_worker_in_all_tiers(index: Index) -> None:
    index.store(0, of(1))
    index.store(0, of(1), tier=Tier.DISK)
    index.store(1, of(1))
    index.clear(0)
    index.clear(5)
    assert found(index.match(of(1)), Tier.REMOTE) == {1: 1}
    assert (index.num_blocks(0), index.num_blocks(0, Tier.DISK), index.unknown_removals) == (0, 0, 0)


def test_a_slower_tier_continues_what_faster_ones_hold(index: Index) -> None:
    index.store(3, of(1, 2, 3, 4, 5))
    index.store(3, of(1, 2, 3, 4, 5), tier=Tier.HOST)
    index.store(3, of(1, 2, 3, 4, 5), tier=Tier.REMOTE)
    index.remove(3, of(5, 4, 3))
    index.remove(3, of(1, 5), tier=Tier.HOST)
    assert index.match(of(1, 2, 3, 4, 5, 6))[3].tolist() == [2, 4, 4, 5]


def test_blocks_behind_an_unknown_one_are_refused(index: Index) -> None:
    with pytest.raises(UnknownParent):
        index.store(0, of(2), parent=1)
    assert index.num_blocks(0) == 0


def test_a_part_dropped_can_be_built_again(index: Index) -> None:
    for _ in range(2):
        index.store(0, of(1, 2, 3))
        index.store(1, of(1, 2, 3, 4))
        index.clear(0)
        index.check_integrity()
        assert found(index.match(of(1, 2, 3, 4))) == {1: 4}
        index.clear(1)


def test_a_full_index_refuses_and_is_as_it_was() -> None:
    index = PrefixIndex(max_blocks=2000)
    index.store(0, of(*range(1, 1900)))
    with pytest.raises(IndexFull, match="1899 blocks and 3000 more, room for 2000"):
        index.store(1, of(*range(5000, 8000)))
    index.check_integrity()
    assert index.num_blocks(1) == 0
    assert found(index.match(of(*range(1, 1900)))) == {0: 1899}


def test_a_block_costs_44_bytes_in_each_of_two_to_four_rows() -> None:
    index = PrefixIndex()
    index.store(0, hash_blocks(range(65536), 1))
    size_bytes = index.size_bytes
    assert 2 * 44 <= size_bytes / 65536 < 4 * 44 + 0.1
    assert index.store(1, hash_blocks(range(65536), 1)).all()
    assert index.size_bytes == size_bytes


def test_room_of_removed_blocks_is_used_again() -> None:
    index = PrefixIndex(max_blocks=1500)
    steady = hash_blocks(range(500), 2)
    index.store(1, steady)
    for start in range(1, 50):
        hashes = hash_blocks(range(start, start + 1000), 1)
        index.store(0, hashes)
        index.remove(0, hashes[:-1])
        index.remove(0, hashes[-1:])
        index.check_integrity()
        assert found(index.match(steady)) == {1: 250}
    assert index.size_bytes < 4096 * 44 + 1000


def test_blocks_nobody_holds_stay_only_before_one_that_is_held() -> None:
    index = PrefixIndex()
    index.store(0, of(*range(1, 901)))
    index.remove(0, of(*range(1, 801), *range(802, 901)))
    index.store(1, of(*range(1001, 1901)))
    assert index._arrays.state[USED] == 801 + 900
    index.check_integrity()
    index.store(0, of(*range(1, 801)))
    assert found(index.match(of(*range(1, 901)))) == {0: 801}


@pytest.mark.parametrize("depth", [100, 10_000])
def test_look_ups_grow_with_the_logarithm_of_the_depth(depth: int) -> None:
    index = PrefixIndex()
    hashes = hash_blocks(range(depth), 1)
    for worker in range(8):
        index.store(worker, hashes[: depth * 2 // 3])
    slots, rows, _, _ = index._arrays
    touched = match_blocks(slots, rows, hashes, index.match(of()))
    assert touched <= 2 + np.log2(depth)


def test_matches_while_another_thread_writes_are_right_about_what_does_not_change() -> None:
    index = PrefixIndex()
    steady = hash_blocks(range(2000), 1)
    moving = [hash_blocks(range(1000 * number, 1000 * number + 3000), 2) for number in range(1, 9)]
    index.store(0, steady)
    index.store(1, steady[:700])
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            for worker, hashes in enumerate(moving, start=2):
                index.store(worker, hashes)
            for worker, hashes in enumerate(moving, start=2):
                index.remove(worker, hashes[::-1].copy())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            assert found(index.match(steady)) == {0: 2000, 1: 700}
    finally:
        is_over.set()
        writer.join()
    index.check_integrity()


@pytest.mark.parametrize(
    ("array", "place", "message"),
    [
        ("rows", (1, REACH), "contradicts"),
        ("rows", (1, HELD), "contradicts"),
        ("links", (1, 0), "contradicts"),
        ("slots", 0, "to be found|contradicts"),
        ("state", USED, "contradicts"),
        ("state", COUNTS, "counted"),
    ],
)
def test_the_check_finds_a_foreign_hand(array: str, place: object, message: str) -> None:
    index = PrefixIndex()
    index.store(0, of(1, 2, 3))
    getattr(index._arrays, array)[place] = 2
    with pytest.raises(IntegrityError, match=message):
        index.check_integrity()


def in_pieces(piece: int = 64) -> PrefixIndex:
    """As a large one moves: so many rows with each change."""
    return PrefixIndex(least_in_pieces=1, piece=lambda _: piece)


def test_blocks_move_in_pieces_before_rows_run_out_and_none_is_lost() -> None:
    index, twin = in_pieces(), PlainIndex()
    served = [index._arrays]
    rng = np.random.default_rng(1)
    held: list[tuple[int, Hashes]] = []
    for number in range(300):
        hashes = hash_blocks([number % 7, *range(100 * number, 100 * number + 29)], 1)
        for each in (index, twin):
            each.store(number % 3, hashes)
        held.append((number % 3, hashes))
        if len(held) > 12:
            worker, gone = held.pop(int(rng.integers(len(held))))
            for each in (index, twin):
                each.remove(worker, gone[::-1].copy())
        if number % 97 == 96:
            index.clear(2)
            twin.clear(2)
        index.check_integrity()
        if index._arrays is not served[-1]:
            served.append(index._arrays)
        assert np.array_equal(index.match(hashes), twin.match(hashes))
    assert len(served) > 2


def test_all_rows_but_those_that_are_needed_are_left_behind() -> None:
    index = in_pieces(1000)
    index.store(0, of(*range(1, 901)))
    index.remove(0, of(*range(1, 401), *range(402, 901)))
    while index.is_moving:
        index.remove(0, of())
        index.check_integrity()
    assert index._arrays.state[USED] == 401
    index.store(0, of(*range(1, 401)))
    assert found(index.match(of(*range(1, 901)))) == {0: 401}


def test_a_block_that_was_passed_as_needless_is_carried_over_when_it_is_stored_again() -> None:
    index = in_pieces(300)
    index.store(0, of(*range(1, 301)))
    index.remove(0, of(*range(1, 301))[::-1].copy())
    index.store(1, of(*range(1000, 1100)))
    index.begin_move()
    while index._move is not None and not index._move._passed:
        index.mark(0, of(5000), Tier.HOST)
    assert index._move is not None
    index.store(0, of(*range(1, 301)))
    index.check_integrity()
    while index.is_moving:
        index.mark(0, of(5000), Tier.HOST)
    index.check_integrity()
    assert found(index.match(of(*range(1, 301)))) == {0: 300}
    assert found(index.match(of(*range(1000, 1100)))) == {1: 100}


def test_a_move_for_which_there_is_no_room_is_given_up_and_made_in_one_go() -> None:
    index = in_pieces(5000)
    prompts = [hash_blocks(range(1000 * number, 1000 * number + 700), 1) for number in range(6)]
    for prompt in prompts:
        index.store(0, prompt)
    for prompt in prompts:
        # The last one holds all before it, so what is needed is far more than what is held.
        index.remove(0, prompt[-2::-1].copy())
    index.begin_move()
    assert index.is_moving
    for _ in range(10):
        index.remove(0, of())
    assert index._move is not None
    assert index._move.has_failed
    index.check_integrity()
    index._move_all(0)
    index.check_integrity()
    for prompt in prompts:
        index.store(0, prompt[:-1])
        assert found(index.match(prompt)) == {0: 700}


def test_a_piece_grows_with_what_changes_and_is_bounded() -> None:
    assert [piece_for(num_blocks) for num_blocks in (0, 100, 1000, 10**6)] == [512, 800, 8000, 32768]


def test_the_check_finds_a_row_that_a_move_left_behind() -> None:
    index = in_pieces(2)
    index.store(0, of(1, 2, 3, 4))
    index.begin_move()
    while index._move is not None and index._move._passed < 2:
        index.remove(0, of())
    assert index._move is not None
    index.check_integrity()
    index._move._new.rows[0, HELD] = 2
    with pytest.raises(IntegrityError, match="not what it was"):
        index.check_integrity()
    index._move._numbers[0] = 0
    with pytest.raises(IntegrityError, match="not those that had to be"):
        index.check_integrity()


paths = st.lists(st.integers(1, 2), min_size=1, max_size=6)
workers = st.sampled_from([0, 1, 15])
tiers = st.sampled_from([Tier.GPU, Tier.GPU, Tier.HOST, Tier.REMOTE])


def named(path: list[int]) -> Hashes:
    return hash_blocks(path, 1)


class TwinMachine(RuleBasedStateMachine):
    """Prompts over a small tree of blocks, the fast index beside its twin."""

    def __init__(self) -> None:
        super().__init__()
        # Emptying slots, sixteen for each row, takes 2048 / 16 / 64 changes.
        self.index = PrefixIndex(piece=lambda num_blocks: 64 if self._is_emptying() else num_blocks)
        self.twin = PlainIndex()

    @rule(worker=workers, tier=tiers, path=paths, start=st.integers(0, 5))
    def store(self, worker: int, tier: Tier, path: list[int], start: int) -> None:
        hashes = named(path)
        start = min(start, len(path))
        while start and not self.twin.is_held(int(hashes[start - 1])):
            start -= 1
        parent = int(hashes[start - 1]) if start else None
        is_new = self.index.store(worker, hashes[start:], parent=parent, tier=tier)
        assert is_new.tolist() == self.twin.store(worker, hashes[start:], parent=parent, tier=tier).tolist()

    @rule(worker=workers, tier=tiers, path=paths, start=st.integers(0, 5), is_reversed=st.booleans())
    def remove(self, worker: int, tier: Tier, path: list[int], start: int, is_reversed: bool) -> None:
        hashes = named(path)[start:]
        hashes = hashes[::-1].copy() if is_reversed else hashes
        self.index.remove(worker, hashes, tier=tier)
        self.twin.remove(worker, hashes, tier=tier)

    @rule(worker=workers)
    def clear(self, worker: int) -> None:
        self.index.clear(worker)
        self.twin.clear(worker)

    @rule()
    def run_out_of_room(self) -> None:
        """Rows move; only those of blocks that are held or have such ones behind them."""
        self.index._move_all(0)

    @rule()
    def begin_to_move(self) -> None:
        """Rows move, a few with each change."""
        self.index.begin_move()

    @rule()
    def end_the_move(self) -> None:
        while self.index.is_moving:
            self.index.remove(0, of(1))
            self.twin.remove(0, of(1))

    def _is_emptying(self) -> bool:
        move = self.index._move
        return move is not None and move._emptied < move._new.slots.size

    @rule(path=paths)
    def match(self, path: list[int]) -> None:
        assert np.array_equal(self.index.match(named(path)), self.twin.match(named(path)))

    @invariant()
    def agrees(self) -> None:
        self.index.check_integrity()
        assert self.index.unknown_removals == self.twin.unknown_removals
        for worker in (0, 1, 15):
            assert all(self.index.num_blocks(worker, tier) == self.twin.num_blocks(worker, tier) for tier in Tier)


TestIndex = TwinMachine.TestCase
