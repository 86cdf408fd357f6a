from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.timeline import Accounting, timeline
from appliance.cache.trace import Trace
from appliance.cache.yardsticks import Yardstick, unbounded_hits, yardstick_hits
from tests.examples import examples
from tests.unit.cache.small_traces import access, trace_of, traces


def prefix_hits(prompt: list[int], resident: frozenset[int]) -> int:
    return next((place for place, block in enumerate(prompt) if block not in resident), len(prompt))


def most_hits(trace: Trace, capacity: int) -> int:
    """Tries every set of blocks that could be kept after each request."""
    reached: dict[frozenset[int], int] = {frozenset(): 0}
    for request in range(len(trace)):
        prompt = trace.blocks_of(request).tolist()
        following: dict[frozenset[int], int] = {}
        for resident, before in reached.items():
            hits = before + prefix_hits(prompt, resident)
            held = resident | set(prompt)
            size = min(capacity, len(held))
            for kept in map(frozenset, combinations(sorted(held), size)):
                following[kept] = max(following.get(kept, 0), hits)
        reached = following
    return max(reached.values())


@settings(max_examples=examples(60))
@given(trace=traces(most_requests=6), capacity=st.integers(1, 4))
def test_no_choice_of_victims_beats_the_optimum(trace: Trace, capacity: int) -> None:
    hits = yardstick_hits(trace, timeline(trace, Accounting.ALL), Yardstick.OPTIMUM, capacity)
    assert int(hits.sum()) == most_hits(trace, capacity)


def fifo_hits(trace: Trace, capacity: int) -> list[int]:
    entered: dict[int, tuple[int, int]] = {}
    found = []
    for request in range(len(trace)):
        prompt = trace.blocks_of(request).tolist()
        found.append(prefix_hits(prompt, frozenset(entered)))
        for place, block in enumerate(prompt):
            entered.setdefault(block, (request, -place))
        while len(entered) > capacity:
            del entered[min(entered, key=lambda block: entered[block])]
    return found


@given(trace=traces(), capacity=st.integers(1, 10))
def test_first_in_goes_first_out_and_a_tail_before_its_head(trace: Trace, capacity: int) -> None:
    hits = yardstick_hits(trace, timeline(trace, Accounting.ALL), Yardstick.FIFO, capacity)
    assert hits.tolist() == fifo_hits(trace, capacity)


@given(trace=traces(), accounting=st.sampled_from(Accounting), yardstick=st.sampled_from(Yardstick))
def test_with_room_for_everything_each_is_the_cache_without_end(
    trace: Trace, accounting: Accounting, yardstick: Yardstick
) -> None:
    hits = yardstick_hits(trace, timeline(trace, accounting), yardstick, trace.block_count)
    assert hits.tolist() == unbounded_hits(trace).tolist()


@given(trace=traces(), accounting=st.sampled_from(Accounting))
def test_more_room_never_hurts_the_optimum(trace: Trace, accounting: Accounting) -> None:
    events = timeline(trace, accounting)
    sums = [int(yardstick_hits(trace, events, Yardstick.OPTIMUM, capacity).sum()) for capacity in range(1, 12)]
    assert sums == sorted(sums)


def test_blocks_of_running_requests_are_beside_the_idle_ones() -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2, 3], took_seconds=1.0),
        access("b", 2.0, [4, 5, 6], took_seconds=100.0),
        access("a", 3.0, [1, 2, 3], took_seconds=1.0),
    )
    found = {
        accounting: yardstick_hits(trace, timeline(trace, accounting), Yardstick.FIFO, 3).tolist()
        for accounting in Accounting
    }
    assert found == {Accounting.ALL: [0, 0, 0], Accounting.IDLE: [0, 0, 3]}
