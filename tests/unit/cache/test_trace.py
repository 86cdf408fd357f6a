from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from appliance.cache.errors import IntegrityError
from appliance.cache.trace import UNKNOWN_REGION, Trace, build_trace
from tests.unit.cache.small_traces import access, trace_of, traces


def test_requests_are_sorted_and_blocks_numbered_as_they_are_first_asked_for() -> None:
    trace = trace_of(access("b", 5.0, [70, 71]), access("a", 1.0, [90, 70]))
    assert trace.session_names == ("a", "b")
    assert trace.blocks_of(0).tolist() == [0, 1]
    assert trace.blocks_of(1).tolist() == [1, 2]
    assert trace.block_count == 3


def test_a_request_waits_for_the_one_before_it_in_its_session() -> None:
    trace = trace_of(access("a", 1.0, [1]), access("b", 2.0, [2]), access("a", 9.0, [1, 3]))
    assert trace.after.tolist() == [-1, -1, 0]


def test_regions_that_are_not_known_say_so() -> None:
    trace = trace_of(access("a", 1.0, [1, 2], regions=["tools", "user"]), access("b", 2.0, [3]))
    assert trace.regions.tolist() == [1, 2, UNKNOWN_REGION]


def test_a_trace_may_be_empty() -> None:
    trace = build_trace([], 16)
    assert len(trace) == 0
    trace.check_integrity()


@given(traces())
def test_every_trace_that_is_built_is_sound(trace: Trace) -> None:
    trace.check_integrity()


def test_a_trace_that_contradicts_itself_is_found_out() -> None:
    trace = trace_of(access("a", 1.0, [1]), access("a", 3.0, [1, 3]))
    with pytest.raises(IntegrityError, match="order of arrival"):
        replace(trace, arrival_seconds=trace.arrival_seconds[::-1]).check_integrity()
    with pytest.raises(IntegrityError, match="waits for an earlier one"):
        replace(trace, after=np.array([1, -1], dtype=np.int32)).check_integrity()
