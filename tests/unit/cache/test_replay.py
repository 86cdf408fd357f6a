"""The simulator against plain caches that know nothing of the eviction core."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.contender import Contender, read_contender
from appliance.cache.forecast import Forecast
from appliance.cache.region import Region
from appliance.cache.replay import PROGRESS_EVERY, replay
from appliance.cache.simulated_pool import SimulatedPool
from appliance.cache.timeline import Accounting, most_running_blocks, timeline
from appliance.cache.trace import REGIONS, Trace
from tests.examples import examples
from tests.unit.cache.small_traces import access, trace_of, traces

CONTENDERS = [read_contender(name) for name in ("lru", "forecast", "coding-agent", "chat")]


def plain_lru(trace: Trace, capacity: int, accounting: Accounting) -> list[int]:
    """An ordered dictionary of idle blocks, and the set of running ones beside it."""
    idle: OrderedDict[int, None] = OrderedDict()
    running: list[int] = []
    found = [0] * len(trace)
    for event in timeline(trace, accounting).tolist():
        prompt = trace.blocks_of(event >> 1).tolist()
        if event & 1:
            for block in reversed(prompt):
                running.remove(block)
                if block not in running:
                    idle[block] = None
            while len(idle) > capacity:
                idle.popitem(last=False)
            continue
        there = [block in idle or block in running for block in prompt]
        found[event >> 1] = there.index(False) if False in there else len(there)
        for block in prompt:
            idle.pop(block, None)
        running += prompt
    return found


@settings(max_examples=examples(150))
@given(trace=traces(), capacity=st.integers(1, 12))
def test_lru_is_an_ordered_dictionary_in_idle_accounting(trace: Trace, capacity: int) -> None:
    result = replay(trace, read_contender("lru"), capacity, Accounting.IDLE)
    assert result.hit_blocks.tolist() == plain_lru(trace, capacity, Accounting.IDLE)


@settings(max_examples=examples(150))
@given(trace=traces(), capacity=st.integers(8, 16))
def test_lru_is_an_ordered_dictionary_when_all_blocks_count(trace: Trace, capacity: int) -> None:
    if capacity >= most_running_blocks(trace, timeline(trace, Accounting.ALL)):
        result = replay(trace, read_contender("lru"), capacity, Accounting.ALL)
        assert result.hit_blocks.tolist() == plain_lru(trace, capacity, Accounting.ALL)


def plain_forecast(trace: Trace, capacity: int) -> list[int]:
    """Sessions with a resident prefix each, which shrinks from its tail. Only for traces that share nothing."""
    forecast = Forecast()
    resident: dict[int, list[int]] = {}

    found = [0] * len(trace)
    idle: set[int] = set()
    for event in timeline(trace, Accounting.IDLE).tolist():
        request = event >> 1
        session, prompt = int(trace.session[request]), trace.blocks_of(request).tolist()
        if event & 1 == 0:
            forecast.request_arrived(session, float(trace.arrival_seconds[request]))
            held = resident.get(session, [])
            common = next((n for n, pair in enumerate(zip(held, prompt, strict=False)) if pair[0] != pair[1]), None)
            found[request] = min(len(held), len(prompt)) if common is None else common
            idle.discard(session)
            continue
        now = float(trace.end_seconds[request])
        forecast.response_ended(session, now, waits_for_tool=bool(trace.waits_for_tool[request]))
        resident[session] = prompt
        idle.add(session)
        while sum(len(resident[one]) for one in idle) > capacity:
            candidates = sorted(one for one in idle if resident[one])
            worths = forecast.keep(np.array(candidates), now)
            resident[candidates[int(np.argmin(worths))]].pop()
    return found


def growing(trace: Trace) -> bool:
    """No prompt leaves a block of its session's previous one behind."""
    return all(
        trace.after[request] < 0
        or set(trace.blocks_of(int(trace.after[request])).tolist()) <= set(trace.blocks_of(request).tolist())
        for request in range(len(trace))
    )


@settings(max_examples=examples(150))
@given(trace=traces(share_head=False).filter(growing), capacity=st.integers(1, 12))
def test_forecast_takes_the_tail_of_the_session_that_is_worth_least(trace: Trace, capacity: int) -> None:
    result = replay(trace, read_contender("forecast"), capacity, Accounting.IDLE)
    assert result.hit_blocks.tolist() == plain_forecast(trace, capacity)


def with_heads(trace: Trace, blocks: int) -> Trace:
    """The first blocks of each prompt are system text."""
    places = np.arange(len(trace.blocks)) - np.repeat(trace.offsets[:-1], np.diff(trace.offsets))
    codes = np.where(places < blocks, REGIONS.index(Region.SYSTEM), REGIONS.index(Region.USER))
    return replace(trace, regions=codes.astype(np.uint8))


@settings(max_examples=examples(150))
@given(trace=traces(share_head=False), capacity=st.integers(1, 12), head=st.integers(0, 3))
def test_to_sessions_that_share_nothing_and_say_nothing_coding_agent_is_the_forecast(
    trace: Trace, capacity: int, head: int
) -> None:
    played = [
        replay(with_heads(trace, head), read_contender(name), capacity, Accounting.IDLE)
        for name in ("forecast", "coding-agent")
    ]
    assert played[0].hit_blocks.tolist() == played[1].hit_blocks.tolist()


def test_under_coding_agent_a_head_that_two_sessions_read_outlives_what_others_have_read_since() -> None:
    regions = ["system", "system", "user"]
    found = {}
    for second in ([1, 2, 10], [3, 4, 10]):
        trace = trace_of(
            access("one", 0.0, [1, 2, 9], waits_for_tool=False, regions=regions),
            access("two", 2.0, second, waits_for_tool=False, regions=regions),
            *(access(f"s{number}", 4.0 + number, [number], waits_for_tool=True) for number in range(20, 30)),
            access("one", 60.0, [1, 2, 9], waits_for_tool=False, regions=regions),
        )
        hit_blocks = replay(trace, read_contender("coding-agent"), 6, Accounting.IDLE).hit_blocks
        found[second[0]] = int(hit_blocks[-1])
    assert found == {1: 2, 3: 0}


@settings(max_examples=examples(60))
@given(
    trace=traces(),
    capacity=st.integers(1, 12),
    contender=st.sampled_from(CONTENDERS),
    accounting=st.sampled_from(Accounting),
)
def test_the_pool_is_sound_after_every_step(
    trace: Trace, capacity: int, contender: Contender, accounting: Accounting
) -> None:
    events = timeline(trace, accounting)
    is_instant = accounting is Accounting.ALL
    pool = SimulatedPool(trace, contender, capacity + (0 if is_instant else most_running_blocks(trace, events)))
    for event in events.tolist():
        request = event >> 1
        if event & 1:
            pool.end(request, float(trace.end_seconds[request]))
            pool.trim(capacity, float(trace.end_seconds[request]))
        else:
            pool.arrive(request, float(trace.arrival_seconds[request]))
            pool.begin(request, float(trace.arrival_seconds[request]))
        pool.check_integrity()
    assert pool.idle_blocks <= capacity


def test_blocks_behind_a_gap_are_not_found_but_need_no_second_place() -> None:
    trace = trace_of(access("a", 0.0, [1, 2]), access("b", 10.0, [3, 2]))
    pool = SimulatedPool(trace, read_contender("lru"), 3)
    for request, now in ((0, 0.0), (1, 10.0)):
        pool.arrive(request, now)
        placement = pool.begin(request, now)
        pool.check_integrity()
        pool.end(request, now + 1)
    assert placement.hit_blocks == 0
    assert pool.evictions_by_region.sum() == 0


def test_a_prompt_larger_than_the_memory_is_placed_as_far_as_it_goes() -> None:
    trace = trace_of(access("a", 0.0, [1, 2, 3, 4, 5]), access("a", 10.0, [1, 2, 3, 4, 5]))
    pool = SimulatedPool(trace, read_contender("lru"), 3)
    pool.arrive(0, 0.0)
    assert pool.begin(0, 0.0) == (0, 2)
    pool.end(0, 1.0)
    assert pool.begin(1, 10.0) == (3, 2)
    pool.check_integrity()


def test_evictions_are_told_by_region() -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2, 3], regions=["system", "user", "tool_result"]),
        access("b", 10.0, [4, 5], regions=["system", "user"]),
        access("c", 20.0, [6]),
        access("d", 30.0, [7, 8]),
    )
    result = replay(trace, read_contender("lru"), 3, Accounting.IDLE)
    assert result.evictions_by_region == {"system": 2, "user": 2, "tool_result": 1}


@pytest.mark.parametrize("uses_hints", [True, False])
def test_a_session_that_is_said_to_be_over_makes_room_if_that_is_believed(uses_hints: bool) -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2], is_final=True),
        access("b", 2.0, [3, 4], waits_for_tool=False),
        access("c", 4.0, [5, 6], waits_for_tool=False),
        access("a", 6.0, [1, 2]),
        access("b", 8.0, [3, 4]),
    )
    hits = replay(trace, read_contender("forecast", uses_hints=uses_hints), 4, Accounting.IDLE).hit_blocks
    assert hits[3] == (0 if uses_hints else 2)


def test_a_tool_that_will_take_long_makes_room_if_that_is_believed() -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2], tool_wait_seconds=900.0),
        access("b", 2.0, [3, 4]),
        access("c", 4.0, [5, 6]),
        access("b", 6.0, [3, 4]),
        access("a", 8.0, [1, 2]),
    )
    believed, ignored = (
        replay(trace, read_contender("forecast", uses_hints=uses), 4, Accounting.IDLE).hit_blocks.tolist()
        for uses in (True, False)
    )
    assert believed == [0, 0, 0, 2, 0]
    assert ignored != believed


@settings(max_examples=10)
@given(st.integers(1, 3 * PROGRESS_EVERY))
def test_progress_adds_up_to_all_requests(requests: int) -> None:
    trace = trace_of(*(access("a", float(number), [1]) for number in range(requests)))
    told: list[int] = []
    replay(trace, read_contender("lru"), 1, Accounting.ALL, progress=told.append)
    assert sum(told) == requests


def test_learning_goes_on_in_the_forecast_that_is_given() -> None:
    trace = trace_of(*(access("a", 10.0 * turn, [1]) for turn in range(5)))
    forecast = Forecast()
    replay(trace, read_contender("forecast"), 1, Accounting.IDLE, forecast=forecast)
    assert forecast.table.observed_gaps == 4
