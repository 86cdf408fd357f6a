from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.router.errors import IntegrityError, RouterError
from appliance.router.events import AllBlocksCleared, Batch, BlockRemoved, BlockStored, KVEvent, short_hash
from appliance.router.hashing import hash_blocks, root_of
from appliance.router.index import Index, PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from tests.unit.router.plain_index import PlainIndex

BLOCK_TOKENS = 2


@pytest.fixture(params=[PrefixIndex, PlainIndex])
def index(request: pytest.FixtureRequest) -> Index:
    made: Index = request.param()
    return made


@pytest.fixture
def mirror(index: Index) -> WorkerMirror:
    return WorkerMirror(4, index, BLOCK_TOKENS)


def stored(
    engine_hashes: Sequence[int | bytes], token_ids: list[int], parent: int | bytes | None = None, **fields: Any
) -> BlockStored:
    ours: dict[str, Any] = {
        "block_size": BLOCK_TOKENS,
        "medium": "GPU",
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
    }
    return BlockStored(
        block_hashes=array("Q", map(short_hash, engine_hashes)),
        parent_block_hash=None if parent is None else short_hash(parent),
        token_ids=array("I", token_ids),
        **(ours | fields),
    )


def removed(*engine_hashes: int | bytes, **fields: Any) -> BlockRemoved:
    ours: dict[str, Any] = {"medium": "GPU", "group_idx": 0}
    return BlockRemoved(block_hashes=array("Q", map(short_hash, engine_hashes)), **(ours | fields))


def apply(mirror: WorkerMirror, *events: KVEvent, unknown_events: int = 0) -> None:
    mirror.apply(Batch(0.0, events, unknown_events))
    mirror.check_integrity()


def overlap(index: Index, token_ids: list[int], **fields: Any) -> int:
    return int(index.match(hash_blocks(token_ids, BLOCK_TOKENS, **fields))[4, Tier.GPU])


def test_stored_blocks_match_prompts_with_their_prefix(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, stored([10, 11], [1, 2, 3, 4]), stored([b"c"], [5, 6], parent=11))
    assert overlap(index, [1, 2, 3, 4, 5, 6, 7, 8]) == 3
    assert overlap(index, [1, 2, 9, 9]) == 1
    assert mirror.num_blocks == 3


def test_extra_keys_separate_equal_tokens(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, stored([10], [1, 2], extra_keys=[["salt"]]))
    assert overlap(index, [1, 2]) == 0
    assert overlap(index, [1, 2], extra_keys=[("salt",)]) == 1


def test_a_mirror_hashes_behind_the_root_it_was_given(index: Index) -> None:
    apply(WorkerMirror(4, index, BLOCK_TOKENS, root=root_of("llama")), stored([10], [1, 2]))
    assert overlap(index, [1, 2]) == 0
    assert overlap(index, [1, 2], root=root_of("llama")) == 1


def test_a_full_index_resets_the_mirror_which_goes_on_out_of_step() -> None:
    index = PrefixIndex(max_blocks=1500)
    mirror = WorkerMirror(4, index, BLOCK_TOKENS)
    many, more = list(range(100, 1100)), list(range(2000, 3000))
    apply(mirror, stored(many, many * 2), stored(more, more * 2, parent=1099), stored([13], [7, 8]))
    assert (mirror.stats.overflows, mirror.in_step, mirror.num_blocks) == (1, False, 1)
    assert (overlap(index, many), overlap(index, [7, 8])) == (0, 1)


@pytest.mark.parametrize("worker", [-1, 16])
def test_a_worker_the_index_has_no_bits_for_is_refused(index: Index, worker: int) -> None:
    with pytest.raises(RouterError, match="0 to 15"):
        WorkerMirror(worker, index, BLOCK_TOKENS)


def test_the_check_holds_the_mirror_against_the_engines_own_count(mirror: WorkerMirror) -> None:
    apply(mirror, stored([10, 11], [1, 2, 3, 4]), stored([10], [1, 2]))
    mirror.check_integrity(engine_blocks=2)
    with pytest.raises(IntegrityError, match="2 blocks known, 3 in the engine"):
        mirror.check_integrity(engine_blocks=3)


def test_a_block_is_held_until_its_last_copy_is_removed(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, stored([10], [1, 2]), stored([10], [1, 2]), removed(10))
    assert overlap(index, [1, 2]) == 1
    apply(mirror, removed(10))
    assert overlap(index, [1, 2]) == 0


def test_two_engine_hashes_of_one_own_hash_hold_it_together(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, stored([10], [1, 2]), stored([20], [1, 2]), removed(10))
    assert overlap(index, [1, 2]) == 1
    apply(mirror, removed(20))
    assert overlap(index, [1, 2]) == 0


def test_an_orphan_is_skipped_counted_and_learned_once_its_ancestors_are_known(
    mirror: WorkerMirror, index: Index
) -> None:
    apply(mirror, stored([11], [3, 4], parent=10))
    assert (mirror.stats.orphans, mirror.num_blocks) == (1, 0)
    apply(mirror, stored([10], [1, 2]), stored([11], [3, 4], parent=10))
    assert (mirror.stats.orphans, overlap(index, [1, 2, 3, 4])) == (1, 2)


def test_removing_an_unknown_block_is_counted(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, removed(10, 11))
    assert mirror.stats.unknown_removals == 2
    assert index.unknown_removals == 0


@pytest.mark.parametrize(
    "event",
    [
        stored([10], [1, 2], medium="CPU"),
        stored([10], [], block_size=0, medium="STORAGE"),
        stored([10], [1, 2], group_idx=1),
        stored([10], [1, 2], kv_cache_spec_kind="sliding_window"),
        stored([10], [1], block_size=1),
        stored([10], [1, 2, 3, 4]),
        removed(10, medium="CPU"),
        removed(10, group_idx=1),
    ],
)
def test_what_is_not_full_attention_on_the_gpu_is_ignored(mirror: WorkerMirror, event: KVEvent) -> None:
    apply(mirror, event)
    assert (mirror.stats.ignored, mirror.num_blocks, mirror.stats.unknown_removals) == (1, 0, 0)


@pytest.mark.parametrize("kind", [None, "full_attention", "mla_attention"])
def test_events_without_medium_and_group_count(mirror: WorkerMirror, kind: str | None) -> None:
    apply(mirror, stored([10], [1, 2], medium=None, group_idx=None, kv_cache_spec_kind=kind))
    assert mirror.num_blocks == 1


def test_events_of_unknown_type_count_as_ignored(mirror: WorkerMirror) -> None:
    apply(mirror, unknown_events=3)
    assert mirror.stats.ignored == 3


def test_after_a_reset_nothing_is_claimed_and_the_mirror_is_out_of_step(mirror: WorkerMirror, index: Index) -> None:
    apply(mirror, stored([10], [1, 2]))
    mirror.reset()
    apply(mirror, stored([11], [3, 4], parent=10), stored([20], [5, 6]))
    assert not mirror.in_step
    assert (overlap(index, [1, 2, 3, 4]), overlap(index, [5, 6])) == (0, 1)


def test_a_mirror_starts_in_step_with_a_fresh_engine(mirror: WorkerMirror) -> None:
    assert mirror.in_step
    assert mirror.num_blocks == 0


def test_a_cleared_or_fresh_engine_brings_the_mirror_in_step(mirror: WorkerMirror) -> None:
    mirror.reset()
    apply(mirror, stored([10], [1, 2]), AllBlocksCleared())
    assert mirror.in_step
    assert mirror.num_blocks == 0
    mirror.reset()
    mirror.reset(engine_is_empty=True)
    assert mirror.in_step


def test_an_engine_hash_that_comes_with_other_tokens_keeps_its_first_meaning(
    mirror: WorkerMirror, index: Index
) -> None:
    apply(mirror, stored([10], [1, 2]), stored([10], [3, 4]))
    assert (overlap(index, [1, 2]), overlap(index, [3, 4])) == (1, 0)


def test_the_check_finds_a_foreign_hand_in_the_index(mirror: WorkerMirror, index: Index) -> None:
    index.store(4, np.array([1], np.uint64))
    with pytest.raises(IntegrityError, match="1 in the index"):
        mirror.check_integrity()


def test_the_check_finds_a_wrong_sum(mirror: WorkerMirror) -> None:
    apply(mirror, stored([10], [1, 2]), stored([20], [1, 2]))
    mirror._others.clear()
    with pytest.raises(IntegrityError, match="holders"):
        mirror.check_integrity()


prompts = st.lists(st.sampled_from([(1, 1), (2, 2), (3, 3)]), min_size=1, max_size=4)


class BlockPoolMachine(RuleBasedStateMachine):
    """A pool that caches and evicts physical blocks, copies included; an engine hash is the prefix itself, packed."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex()
        self.mirror = WorkerMirror(4, self.index, BLOCK_TOKENS)
        self.pool: list[tuple[int, ...]] = []

    @rule(prompt=prompts, start=st.integers(0, 3))
    def cache_full_blocks(self, prompt: list[tuple[int, int]], start: int) -> None:
        prefixes = [tuple(token for block in prompt[:end] for token in block) for end in range(1, len(prompt) + 1)]
        start = min(
            [start, len(prompt) - 1, *(depth for depth, prefix in enumerate(prefixes) if prefix not in self.pool)]
        )
        parent = bytes(prefixes[start - 1]) if start else None
        new = prefixes[start:]
        token_ids = list(prefixes[-1][start * BLOCK_TOKENS :])
        apply(self.mirror, stored([bytes(prefix) for prefix in new], token_ids, parent))
        self.pool.extend(new)

    @precondition(lambda self: self.pool)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        prefix = self.pool.pop(data.draw(st.integers(0, len(self.pool) - 1)))
        apply(self.mirror, removed(bytes(prefix)))

    @rule()
    def reset_prefix_cache(self) -> None:
        self.pool.clear()
        apply(self.mirror, AllBlocksCleared())

    @invariant()
    def the_index_holds_what_the_pool_holds(self) -> None:
        held = set(self.pool)
        assert self.index.num_blocks(4) == len(held)
        for prefix in held:
            expected = 0
            while expected < len(prefix) // BLOCK_TOKENS and prefix[: (expected + 1) * BLOCK_TOKENS] in held:
                expected += 1
            assert overlap(self.index, list(prefix)) == expected
        assert self.mirror.stats.orphans == 0
        assert self.mirror.stats.unknown_removals == 0


TestBlockPool = BlockPoolMachine.TestCase
