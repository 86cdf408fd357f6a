from __future__ import annotations

from collections.abc import Sequence

import pytest

from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.shared_tier import PATIENCE, SharedTier
from tests.unit.router.test_mirror import BLOCK_TOKENS, apply, removed, stored

TOKENS = list(range(4 * BLOCK_TOKENS))
ENGINE = [101, 102, 103, 104]
OWN = hash_blocks(TOKENS, BLOCK_TOKENS)


@pytest.fixture
def index() -> PrefixIndex:
    return PrefixIndex()


@pytest.fixture
def mirrors(index: PrefixIndex) -> list[WorkerMirror]:
    return [WorkerMirror(worker, index, BLOCK_TOKENS) for worker in range(2)]


@pytest.fixture
def tier(index: PrefixIndex, mirrors: list[WorkerMirror]) -> SharedTier:
    return SharedTier(index, Tier.HOST, mirrors)


def compute(mirror: WorkerMirror) -> None:
    apply(mirror, stored(ENGINE, TOKENS))


def arrive(tier: SharedTier, engine_hashes: Sequence[int] = ENGINE) -> None:
    tier.follow((engine_hash, True) for engine_hash in engine_hashes)


def depths(index: PrefixIndex, worker: int) -> list[int]:
    """On the GPU, and on the host or there."""
    found: list[int] = index.match(OWN)[worker].tolist()
    return found[:2]


def test_what_one_worker_stored_every_worker_can_load(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    arrive(tier)
    assert (depths(index, 0), depths(index, 1)) == ([4, 4], [0, 4])
    index.check_integrity()
    tier.check_integrity()


def test_a_block_evicted_from_the_gpu_is_still_to_be_had(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    arrive(tier)
    apply(mirrors[0], removed(*ENGINE[1:]))
    assert depths(index, 0) == [1, 4]


def test_a_block_gone_from_the_tier_is_gone_for_all(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    arrive(tier)
    tier.follow([(ENGINE[2], False)])
    assert (depths(index, 0), depths(index, 1)) == ([4, 4], [0, 2])
    tier.check_integrity()


def test_a_store_told_before_its_event_is_learned_later(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    arrive(tier)
    assert len(tier) == 0
    compute(mirrors[0])
    tier.follow([])
    assert (len(tier), depths(index, 1)) == (4, [0, 4])


def test_a_block_nobody_tells_of_is_given_up_and_counted(tier: SharedTier) -> None:
    arrive(tier)
    for _ in range(PATIENCE):
        tier.follow([])
    assert tier.unknown == 4
    tier.follow([])
    assert tier.unknown == 4


def test_a_block_that_came_and_went_in_one_batch_is_not_there(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    tier.follow([(ENGINE[0], True), (ENGINE[0], False)])
    assert depths(index, 1) == [0, 0]
    tier.follow([(ENGINE[0], False), (ENGINE[0], True)])
    assert depths(index, 1) == [0, 1]


def test_a_worker_whose_part_was_cleared_is_told_again(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    arrive(tier)
    mirrors[1].reset(engine_is_empty=True)
    index.clear(1)
    assert depths(index, 1) == [0, 0]
    tier.refresh()
    assert depths(index, 1) == [0, 4]


def test_a_restart_forgets_what_is_not_told_again(
    index: PrefixIndex, mirrors: list[WorkerMirror], tier: SharedTier
) -> None:
    compute(mirrors[0])
    arrive(tier)
    tier.restart(ENGINE[:2])
    assert depths(index, 1) == [0, 2]
    tier.check_integrity()
