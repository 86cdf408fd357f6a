from __future__ import annotations

from hypothesis import given

from appliance.cache.timeline import Accounting, most_running_blocks, timeline
from appliance.cache.trace import Trace
from tests.unit.cache.small_traces import access, trace_of, traces


@given(traces())
def test_every_request_begins_once_and_ends_once_after_it(trace: Trace) -> None:
    for accounting in Accounting:
        events = timeline(trace, accounting).tolist()
        assert sorted(events) == list(range(2 * len(trace)))
        assert all(events.index(2 * request) < events.index(2 * request + 1) for request in range(len(trace)))


def test_requests_overlap_in_idle_accounting_only() -> None:
    trace = trace_of(access("a", 0.0, [1], took_seconds=10.0), access("b", 5.0, [2], took_seconds=1.0))
    assert timeline(trace, Accounting.IDLE).tolist() == [0, 2, 3, 1]
    assert timeline(trace, Accounting.ALL).tolist() == [0, 1, 2, 3]


def test_a_request_without_duration_begins_before_it_ends() -> None:
    trace = trace_of(access("a", 0.0, [1], took_seconds=0.0), access("a", 0.0, [1, 2], took_seconds=0.0))
    assert timeline(trace, Accounting.IDLE).tolist() == [0, 1, 2, 3]


def test_the_most_running_blocks_are_those_of_the_fullest_moment() -> None:
    trace = trace_of(
        access("a", 0.0, [1, 2, 3], took_seconds=10.0),
        access("b", 5.0, [4, 5], took_seconds=1.0),
        access("c", 8.0, [6], took_seconds=1.0),
    )
    assert most_running_blocks(trace, timeline(trace, Accounting.IDLE)) == 5
    assert most_running_blocks(trace, timeline(trace, Accounting.ALL)) == 3
