from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.ttl import MAX_TTL_SECONDS, ttl_seconds, ttl_text


@given(st.integers(1, MAX_TTL_SECONDS))
def test_a_time_that_is_written_reads_the_same(seconds: int) -> None:
    assert ttl_seconds(ttl_text(seconds)) == seconds


@pytest.mark.parametrize(("seconds", "text"), [(90, "90s"), (300, "5m"), (1800, "30m"), (3600, "1h"), (86400, "24h")])
def test_a_time_is_written_in_the_largest_unit_that_tells_it(seconds: float, text: str) -> None:
    assert ttl_text(seconds) == text


@pytest.mark.parametrize("text", ["", "0s", "5", "m", "-5m", "1.5h", "25h", "86401s", "5 m", "9999999s", "٥m"])
def test_anything_else_is_no_time(text: str) -> None:
    assert ttl_seconds(text) is None
