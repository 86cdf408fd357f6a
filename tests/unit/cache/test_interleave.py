from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.interleave import interleave
from tests.unit.cache.small_traces import BLOCK_TOKENS, access

SESSIONS = [
    tuple(access(f"s{number}", 20.0 * turn, list(range(100 * number, 100 * number + turn + 1))) for turn in range(3))
    for number in range(7)
]


@given(slots=st.integers(1, 9), seed=st.integers(0, 50))
def test_never_more_users_than_slots(slots: int, seed: int) -> None:
    trace = interleave(SESSIONS, BLOCK_TOKENS, slots=slots, seed=seed)
    trace.check_integrity()
    spans = [
        (trace.arrival_seconds[trace.session == number].min(), trace.end_seconds[trace.session == number].max())
        for number in range(len(SESSIONS))
    ]
    for start, _ in spans:
        assert sum(begin <= start < end for begin, end in spans) <= slots


@given(slots=st.integers(1, 9), seed=st.integers(0, 50))
def test_a_request_comes_as_long_after_the_response_before_it_as_recorded(slots: int, seed: int) -> None:
    trace = interleave(SESSIONS, BLOCK_TOKENS, slots=slots, seed=seed)
    for request, previous in enumerate(trace.after.tolist()):
        if previous >= 0:
            same = trace.session[request] == trace.session[previous]
            gap = trace.arrival_seconds[request] - trace.end_seconds[previous]
            assert np.isclose(gap, 19.0 if same else 0.0)


def test_a_user_waits_for_nothing_at_the_start_only() -> None:
    trace = interleave(SESSIONS, BLOCK_TOKENS, slots=2, seed=1)
    assert (trace.after < 0).sum() == 2


def test_long_gaps_are_capped() -> None:
    session = (access("a", 0.0, [1]), access("a", 5000.0, [1, 2]))
    trace = interleave([session], BLOCK_TOKENS, slots=1, seed=0, gap_cap_seconds=300.0)
    assert trace.arrival_seconds.tolist() == [0.0, 301.0]


def test_a_seed_is_an_order() -> None:
    orders = {interleave(SESSIONS, BLOCK_TOKENS, slots=1, seed=seed).session_names for seed in range(5)}
    assert len(orders) == 5
    assert interleave(SESSIONS, BLOCK_TOKENS, slots=1, seed=3).session_names in orders
