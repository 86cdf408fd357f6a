from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.contender import Contender, read_contender
from appliance.cache.errors import TraceError
from appliance.cache.policy_source import load_policy
from appliance.cache.replay import replay
from appliance.cache.routed_replay import OPTIMUM, SPANS, Pace, WorkerRecord, routed_replay, steps
from appliance.cache.timeline import Accounting
from appliance.cache.trace import Trace
from tests.examples import examples
from tests.unit.cache.small_traces import BLOCK_TOKENS, access, trace_of, traces

LRU = read_contender("lru")
CHAT = Contender("chat", load_policy("chat"), is_forecast=False)
PACE = Pace(0.5, 0.01)


@given(st.lists(traces(), min_size=1, max_size=3), st.integers(1, 20))
@settings(max_examples=examples(30))
def test_outcomes_add_up_and_nobody_beats_the_optimum_on_whole_caches(found: list[Trace], capacity: int) -> None:
    records = [WorkerRecord(number, capacity, trace, 0.0) for number, trace in enumerate(found)]
    steps_told: list[int] = []
    outcomes = routed_replay(records, [LRU, CHAT], PACE, steps_told.append)
    assert sum(steps_told) == steps(records, [LRU, CHAT])
    assert [outcome.contender for outcome in outcomes] == ["lru", "chat", OPTIMUM]
    requests, tokens = sum(map(len, found)), sum(int(trace.prompt_tokens.sum()) for trace in found)
    for outcome in outcomes:
        assert (outcome.requests, outcome.prompt_tokens) == (requests, tokens)
        assert sum(session.hit_tokens for session in outcome.sessions) == outcome.hit_tokens <= tokens
        expected = requests * PACE.fixed_seconds + (tokens - outcome.hit_tokens) * PACE.seconds_per_token
        assert outcome.prefill_seconds == pytest.approx(expected)
        assert len(outcome.hit_rates) == SPANS
        assert all(rate is None or 0 <= rate <= 1 for rate in outcome.hit_rates)
        assert outcome.hit_rates[0] is not None
    assert outcomes[-1].evicted_blocks is None


def test_each_worker_has_its_own_cache() -> None:
    one = trace_of(access("a", 0.0, [1, 2, 3]), access("a", 10.0, [1, 2, 3, 4]))
    other = trace_of(access("a", 20.0, [1, 2, 3, 4, 5]))
    (lru, best) = routed_replay([WorkerRecord(0, 50, one, 0.0), WorkerRecord(1, 50, other, 0.0)], [LRU], PACE)
    # The second turn finds three blocks; the third went elsewhere and finds none.
    assert lru.hit_tokens == best.hit_tokens == 3 * BLOCK_TOKENS


def test_what_came_before_fills_the_cache_and_does_not_count() -> None:
    trace = trace_of(access("a", 0.0, [1, 2]), access("a", 10.0, [1, 2]), access("b", 20.0, [9]))
    lru, _ = routed_replay([WorkerRecord(0, 50, trace, 5.0)], [LRU], PACE)
    assert (lru.requests, lru.prompt_tokens) == (2, 3 * BLOCK_TOKENS)
    # The last token of a prompt is always computed.
    assert lru.hit_tokens == 2 * BLOCK_TOKENS - 1


def test_hit_rates_are_told_over_time_from_the_first_request_that_counts_to_the_last() -> None:
    turns = [access("a", arrival, [1, 2]) for arrival in (0.0, 10.0, 20.0, 30.0)]
    lru, _ = routed_replay([WorkerRecord(0, 50, trace_of(*turns), 5.0)], [LRU], PACE)
    known = {span: rate for span, rate in enumerate(lru.hit_rates) if rate is not None}
    assert known == dict.fromkeys((0, SPANS // 2, SPANS - 1), 1 - 1 / (2 * BLOCK_TOKENS))


def test_blocks_of_running_prompts_leave_less_room_for_idle_ones() -> None:
    turns = [access("a", 0.0, [1, 2]), access("b", 10.0, [3, 4, 5, 6], took_seconds=10.0), access("a", 20.0, [1, 2])]
    roomy, tight = (routed_replay([WorkerRecord(0, size, trace_of(*turns), 0.0)], [LRU], PACE)[0] for size in (8, 5))
    assert (roomy.evicted_blocks, roomy.hit_tokens > 0) == (0, True)
    assert tight.evicted_blocks


def test_it_plays_what_replay_plays() -> None:
    trace = trace_of(
        *(access(f"s{number % 3}", number * 5.0, list(range(number % 3 * 10, number))) for number in range(1, 9))
    )
    outcome = routed_replay([WorkerRecord(0, 6, trace, 0.0)], [CHAT], PACE)[0]
    seconds = float(trace.end_seconds.max() - trace.arrival_seconds.min())
    busy = sum(len(trace.blocks_of(row)) for row in range(len(trace)))
    found = replay(trace, CHAT, 6 - round(busy / seconds), Accounting.IDLE)
    assert outcome.evictions_by_region == found.evictions_by_region


def test_a_record_without_a_request_of_that_time_is_refused() -> None:
    with pytest.raises(TraceError, match="no request of that time"):
        routed_replay([WorkerRecord(0, 9, trace_of(access("a", 0.0, [1])), 5.0)], [LRU], PACE)
