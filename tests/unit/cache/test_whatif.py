from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.contender import read_contender
from appliance.cache.errors import TraceError
from appliance.cache.queue_order import QueueOrder
from appliance.cache.timeline import Accounting
from appliance.cache.trace import Trace, build_trace
from appliance.cache.whatif import Machine, steps, what_if, what_if_in_a_loop
from tests.examples import examples
from tests.unit.cache.small_traces import BLOCK_TOKENS, access, trace_of, traces

MACHINE = Machine(kv_bytes_per_token=1, prefill_tokens_per_second=2.0)
CONTENDERS = [read_contender("forecast"), read_contender("lru"), read_contender("chat")]
TRACE = trace_of(*(access(f"s{number % 3}", 10.0 * number, [number % 3, 10 + number % 3]) for number in range(12)))


@settings(max_examples=examples(50))
@given(trace=traces(), blocks=st.integers(1, 12), accounting=st.sampled_from(Accounting))
def test_everyone_is_between_nothing_and_the_cache_without_end(
    trace: Trace, blocks: int, accounting: Accounting
) -> None:
    outcomes = what_if(
        trace, CONTENDERS, [blocks * BLOCK_TOKENS], accounting=accounting, machine=MACHINE, warm_up_share=0.0
    )
    tokens = {outcome.contender: outcome.hit_tokens for outcome in outcomes}
    assert list(tokens) == ["lru", "forecast", "chat", "fifo", "optimum", "unbounded"]
    assert all(0 <= each <= tokens["unbounded"] for each in tokens.values())
    if accounting is Accounting.IDLE:
        assert tokens["optimum"] == max(count for name, count in tokens.items() if name != "unbounded")


def test_the_gap_from_lru_to_the_optimum_is_the_scale() -> None:
    outcomes = {outcome.contender: outcome for outcome in what_if(TRACE, [], [4 * BLOCK_TOKENS], machine=MACHINE)}
    assert outcomes["lru"].gap_closed == 0.0
    assert outcomes["optimum"].gap_closed == 1.0
    assert outcomes["unbounded"].gap_closed is None


def test_there_is_no_scale_where_lru_is_the_optimum() -> None:
    outcomes = what_if(TRACE, [], [100 * BLOCK_TOKENS], machine=MACHINE)
    assert {outcome.gap_closed for outcome in outcomes} == {None}


def test_tokens_that_were_found_are_seconds_that_were_saved() -> None:
    outcome = what_if(TRACE, [], [100 * BLOCK_TOKENS], machine=MACHINE)[0]
    assert outcome.prompt_tokens == outcome.hit_tokens == 6 * 2 * BLOCK_TOKENS
    assert outcome.prefill_seconds_saved == outcome.hit_tokens / 2.0
    assert outcome.hit_rate == 1.0


def test_a_prompt_whose_last_block_is_cut_short_has_no_more_hits_than_tokens() -> None:
    trace = replace(TRACE, prompt_tokens=TRACE.prompt_tokens - 3)
    assert what_if(trace, [], [100 * BLOCK_TOKENS], machine=MACHINE)[0].hit_rate == 1.0


def test_evictions_are_known_of_contenders_only() -> None:
    outcomes = {outcome.contender: outcome for outcome in what_if(TRACE, [], [4 * BLOCK_TOKENS], machine=MACHINE)}
    assert outcomes["lru"].evictions_by_region is not None
    assert set(outcomes["lru"].evictions_by_region) == {"unknown"}
    assert outcomes["fifo"].evictions_by_region is None


def test_progress_adds_up_to_the_steps_that_were_announced() -> None:
    told: list[int] = []
    what_if(TRACE, CONTENDERS, [16, 32], machine=MACHINE, progress=told.append)
    assert sum(told) == steps(TRACE, CONTENDERS, [16, 32]) == 2 * 3 * 12
    told.clear()
    what_if_in_a_loop(TRACE, CONTENDERS, [64], queue=QueueOrder.FIRST_COME, machine=MACHINE, progress=told.append)
    assert sum(told) == steps(TRACE, CONTENDERS, [64])


def test_a_loop_has_one_outcome_for_each_capacity_and_contender() -> None:
    outcomes = what_if_in_a_loop(
        TRACE, [read_contender("forecast")], [32, 64], queue=QueueOrder.IN_TURN, machine=MACHINE
    )
    assert [(outcome.capacity_bytes, outcome.contender) for outcome in outcomes] == [
        *((32, "lru"), (32, "forecast")),
        *((64, "lru"), (64, "forecast")),
    ]
    assert all(outcome.queue is QueueOrder.IN_TURN for outcome in outcomes)


def test_an_empty_trace_and_a_memory_below_one_block_are_refused() -> None:
    with pytest.raises(TraceError, match="no request"):
        what_if(build_trace([], 4), [], [16], machine=MACHINE)
    with pytest.raises(TraceError, match="no request"):
        what_if_in_a_loop(build_trace([], 4), [], [16], queue=QueueOrder.IN_TURN, machine=MACHINE)
    with pytest.raises(TraceError, match="3B is too small: a block of 4 tokens takes 4B"):
        what_if(TRACE, [], [3], machine=MACHINE)
