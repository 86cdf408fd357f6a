from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.closed_loop import LoopResult, run_closed_loop
from appliance.cache.contender import Contender, read_contender
from appliance.cache.interleave import interleave
from appliance.cache.queue_order import QueueOrder
from appliance.cache.trace import Trace
from tests.examples import examples
from tests.unit.cache.small_traces import BLOCK_TOKENS, access, trace_of, traces

LRU = read_contender("lru")
FORECAST = read_contender("forecast")


def loop(
    trace: Trace,
    capacity: int = 100,
    contender: Contender = LRU,
    order: QueueOrder = QueueOrder.FIRST_COME,
    rate: float = BLOCK_TOKENS,
    protects_waiting: bool = True,
) -> LoopResult:
    """A block a second."""
    return run_closed_loop(
        trace, contender, capacity, order=order, prefill_tokens_per_second=rate, protects_waiting=protects_waiting
    )


def test_a_request_that_meets_nobody_waits_for_its_own_tokens_only() -> None:
    trace = trace_of(access("a", 0.0, [1, 2, 3]), access("a", 60.0, [1, 2, 3, 4, 5]))
    result = loop(trace)
    assert result.prefill_tokens == 5 * BLOCK_TOKENS
    assert result.mean_delay_seconds == pytest.approx((3 + 2) / 2)


def test_one_prompt_at_a_time() -> None:
    trace = trace_of(access("a", 0.0, [1, 2, 3]), access("b", 1.0, [4, 5]))
    assert loop(trace).mean_delay_seconds == pytest.approx((3 + (2 + 2)) / 2)


def test_the_least_missing_goes_before_who_came_first() -> None:
    trace = trace_of(access("a", 0.0, [1, 2, 3]), access("b", 1.0, [4, 5, 6, 7]), access("c", 2.0, [8]))
    first_come, least_missing = (
        loop(trace, order=order) for order in (QueueOrder.FIRST_COME, QueueOrder.LEAST_MISSING)
    )
    assert first_come.mean_delay_seconds == pytest.approx((3 + 6 + 6) / 3)
    assert least_missing.mean_delay_seconds == pytest.approx((3 + 7 + 2) / 3)


def test_a_late_answer_delays_what_follows_it() -> None:
    """Recorded: 9 s between answer and next question. Here the answer comes 3 s later, and so does the question."""
    trace = trace_of(access("a", 0.0, [1, 2, 3]), access("a", 10.0, [1, 2, 3, 4]), access("b", 10.5, [9]))
    result = loop(trace)
    # b is served at 10.5 at once; a's second arrives at 13 and finds the server free.
    assert result.p95_delay_seconds < 3.0
    assert result.mean_delay_seconds == pytest.approx((3 + 1 + 1) / 3)


def test_blocks_of_a_waiting_request_go_last() -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2]),
        access("b", 10.0, [3, 4, 5, 6], waits_for_tool=False),
        access("a", 11.0, [1, 2]),
        access("c", 10.5, [7, 8], waits_for_tool=False),
    )
    protected, bare = (loop(trace, capacity=6, protects_waiting=protects) for protects in (True, False))
    assert protected.hit_tokens >= bare.hit_tokens


@settings(max_examples=examples(60))
@given(
    trace=traces(),
    capacity=st.integers(1, 12),
    order=st.sampled_from(QueueOrder),
    contender=st.sampled_from([LRU, FORECAST, read_contender("coding-agent")]),
)
def test_every_request_is_served_whatever_the_order_and_the_memory(
    trace: Trace, capacity: int, order: QueueOrder, contender: Contender
) -> None:
    result = loop(trace, capacity, contender, order)
    assert 0 <= result.hit_tokens <= result.prompt_tokens
    assert result.prefill_tokens == result.prompt_tokens - result.hit_tokens
    assert result.mean_delay_seconds * BLOCK_TOKENS >= 0


def test_a_users_next_session_waits_for_the_last_one_to_end() -> None:
    sessions = [(access("a", 0.0, [1, 2, 3, 4]),), (access("b", 0.0, [5, 6, 7, 8]),)]
    trace = interleave(sessions, BLOCK_TOKENS, slots=1, seed=0)
    assert loop(trace).mean_delay_seconds == pytest.approx(4.0)


def test_progress_adds_up_to_all_requests() -> None:
    trace = trace_of(*(access("a", 10.0 * number, [1]) for number in range(300)))
    told: list[int] = []
    run_closed_loop(trace, LRU, 4, order=QueueOrder.IN_TURN, prefill_tokens_per_second=100.0, progress=told.append)
    assert sum(told) == 300
