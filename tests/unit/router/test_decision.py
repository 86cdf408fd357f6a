from __future__ import annotations

import pytest

from appliance.router.decision import Reason, why
from appliance.router.scoring import Candidate, Prospect, expected_cost
from tests.unit.router.prospects import prospect


def candidates(*prospects: Prospect) -> tuple[Candidate, ...]:
    return tuple(Candidate(one, expected_cost(one)) for one in prospects)


@pytest.mark.parametrize(
    ("winner", "other", "part"),
    [
        (prospect(100, overlap=50), prospect(100, worker=1, overlap=40, prefill=1), "prefill"),
        (prospect(100), prospect(100, worker=1, prefill=40), "queue"),
        (prospect(100), prospect(100, worker=1, decode=900.0), "decode"),
        (prospect(100, is_last=True), prospect(100, worker=1), "affinity"),
    ],
)
def test_the_reason_names_the_next_best_and_what_sets_it_apart(winner: Prospect, other: Prospect, part: str) -> None:
    worst = prospect(1000, worker=2, prefill=1000)
    told = why(0, Reason.COST, candidates(winner, other, worst))
    more = expected_cost(other).total_seconds - expected_cost(winner).total_seconds
    assert told == f"{more:.3g} s less than worker 1, most of it {part}"


def test_every_reason_has_its_words() -> None:
    both = candidates(prospect(10), prospect(10, worker=1, prefill=5))
    assert len({why(0, reason, both) for reason in Reason}) == len(Reason)
