from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.decision import Reason
from appliance.router.errors import IntegrityError
from appliance.router.history import History, Record
from appliance.router.scoring import Candidate, expected_cost
from tests.unit.router.prospects import BLOCK_TOKENS, prospect

HELD, EMPTY = prospect(10, worker=0, overlap=8), prospect(10, worker=1)


def record(request_id: str | None = "r", worker: int = 0, reason: Reason = Reason.COST) -> Record:
    candidates = tuple(Candidate(one, expected_cost(one)) for one in (HELD, EMPTY))
    return Record(request_id, 5.0, worker, reason, 10 * BLOCK_TOKENS, candidates)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), st.integers(1, 8))
def test_the_newest_are_found_as_in_a_plain_list(names: list[str | None], most: int) -> None:
    history, plain = History(most), deque[Record](maxlen=most)
    for name in names:
        plain.append(one := record(name))
        history.add(one)
        history.check_integrity()
    assert history.newest(5) == tuple(reversed(plain))[:5]
    for name in ("a", "b", "c"):
        assert history.of(name) == tuple(one for one in plain if one.request_id == name)
    assert (len(history), history.totals.decisions) == (len(plain), len(names))


def test_outcomes_are_summed_also_of_records_that_are_gone() -> None:
    history = History(most=1)
    history.add(bad := record(worker=1))
    history.add(good := record(worker=0))
    history.settle(bad, cached_tokens=0, wait_seconds=2.0)
    history.settle(good, cached_tokens=8 * BLOCK_TOKENS, wait_seconds=1.0)
    assert bad.outcome is not None
    assert bad.outcome.best_worker == 0
    settled = history.totals.settled
    assert (settled.decisions, settled.regretted, settled.missed_tokens) == (2, 1, 8 * BLOCK_TOKENS)
    assert settled.regret_seconds == bad.outcome.regret_seconds > 0


def test_outcomes_are_summed_by_reason_too() -> None:
    history = History()
    history.add(bad := record(worker=1, reason=Reason.TIE))
    history.add(good := record(worker=0))
    history.settle(bad, cached_tokens=0, wait_seconds=2.0)
    history.settle(good, cached_tokens=8 * BLOCK_TOKENS, wait_seconds=1.0)
    by_reason = history.totals.by_reason
    assert {reason: (one.decisions, one.regretted) for reason, one in by_reason.items()} == {
        Reason.TIE: (1, 1),
        Reason.COST: (1, 0),
    }
    assert by_reason[Reason.TIE].regret_seconds == history.totals.settled.regret_seconds


def test_the_check_finds_a_record_that_cannot_be_found() -> None:
    history = History()
    history.add(record("a"))
    history._of_request.clear()
    with pytest.raises(IntegrityError, match="0 records to be found"):
        history.check_integrity()
