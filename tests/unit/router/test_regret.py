from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.regret import Outcome, outcome_of
from appliance.router.scoring import Candidate, Prospect, expected_cost
from tests.unit.router.prospects import BLOCK_SECONDS, BLOCK_TOKENS, prospect

blocks = st.integers(0, 100)


def candidates(*prospects: Prospect) -> tuple[Candidate, ...]:
    return tuple(Candidate(one, expected_cost(one)) for one in prospects)


def outcome(*prospects: Prospect, worker: int, cached: int) -> Outcome:
    """`cached` in blocks, of prompts of 100."""
    return outcome_of(
        candidates(*prospects),
        worker,
        prompt_tokens=100 * BLOCK_TOKENS,
        cached_tokens=cached * BLOCK_TOKENS,
        wait_seconds=1.0,
    )


def test_the_right_worker_leaves_no_regret() -> None:
    held, empty = prospect(100, worker=0, overlap=80), prospect(100, worker=1)
    assert outcome(held, empty, worker=0, cached=80) == Outcome(80 * BLOCK_TOKENS, 1.0, 0, 0, 0.0)


def test_what_another_worker_held_is_missed_and_its_prefill_regretted() -> None:
    held, empty = prospect(100, worker=0, overlap=80), prospect(100, worker=1)
    told = outcome(held, empty, worker=1, cached=0)
    assert (told.missed_tokens, told.best_worker) == (80 * BLOCK_TOKENS, 0)
    assert told.regret_seconds == pytest.approx(80 * BLOCK_SECONDS)


def test_a_worker_that_held_more_behind_a_longer_queue_is_not_regretted() -> None:
    busy, idle = prospect(100, worker=0, overlap=80, prefill=90), prospect(100, worker=1)
    told = outcome(busy, idle, worker=1, cached=0)
    assert (told.best_worker, told.regret_seconds, told.missed_tokens) == (1, 0.0, 80 * BLOCK_TOKENS)


def test_a_promise_that_the_engine_broke_is_regretted() -> None:
    promised, other = prospect(100, worker=0, overlap=80), prospect(100, worker=1, overlap=60)
    told = outcome(promised, other, worker=0, cached=10)
    assert told.best_worker == 1
    assert told.regret_seconds == pytest.approx(50 * BLOCK_SECONDS)


@given(st.lists(st.tuples(blocks, blocks), min_size=1, max_size=4), blocks, st.data())
def test_regret_is_what_the_best_of_all_would_have_saved(
    workers: list[tuple[int, int]], cached: int, data: st.DataObject
) -> None:
    worker = data.draw(st.integers(0, len(workers) - 1))
    prospects = [prospect(100, worker=n, overlap=held, prefill=queued) for n, (held, queued) in enumerate(workers)]
    waits = [(queued + 100 - held) * BLOCK_SECONDS for held, queued in workers]
    waits[worker] = (workers[worker][1] + 100 - cached) * BLOCK_SECONDS
    told = outcome(*prospects, worker=worker, cached=cached)
    assert told.regret_seconds == pytest.approx(waits[worker] - min(waits))
    assert told.regret_seconds >= 0
