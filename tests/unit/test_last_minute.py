from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from appliance.last_minute import BOUNDS_SECONDS, NUM_SLOTS, SLOT_SECONDS, LastMinute


@given(st.lists(st.floats(0, 20), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_that_of_the_sorted_durations_up_to_one_bucket(durations: list[float], share: float) -> None:
    minute = LastMinute(lambda: 0.0)
    for seconds in durations:
        minute.add(seconds)
    found, true = minute.quantile(share), sorted(durations)[math.ceil(share * len(durations)) - 1]
    assert found is not None
    assert minute.max_seconds == max(durations)
    above = max(BOUNDS_SECONDS[0], true * 1.2) if true <= BOUNDS_SECONDS[-1] else max(durations)
    assert true <= found <= above


def test_without_a_duration_in_the_last_minute_nothing_is_known() -> None:
    now = 7.0
    minute = LastMinute(lambda: now)
    assert (minute.max_seconds, minute.quantile(0.5)) == (None, None)
    minute.add(0.25)
    now += NUM_SLOTS * SLOT_SECONDS
    assert (minute.max_seconds, minute.quantile(0.5)) == (None, None)
    minute.check_integrity()
