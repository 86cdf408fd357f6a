from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.token_gaps import BUCKETS, GROWTH, LEAST_SECONDS, REMEMBERED, TokenGaps

SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
LONGEST = LEAST_SECONDS * GROWTH ** (BUCKETS - 2)


def quantile(gaps: list[float], share: float) -> float:
    return sorted(gaps)[max(math.ceil(share * len(gaps)), 1) - 1]


@given(st.lists(st.tuples(st.floats(LEAST_SECONDS, LONGEST), st.integers(1, 5)), min_size=1, max_size=50))
def test_quantiles_are_those_of_every_token_to_the_nearest_fortieth(steps: list[tuple[float, int]]) -> None:
    gaps, seen = TokenGaps(), []
    for each, tokens in steps:
        gaps.add(each * tokens, tokens)
        seen += [each] * tokens
    for share in SHARES:
        assert gaps.quantile(share) == pytest.approx(quantile(seen, share), rel=1 / 39)


@pytest.mark.parametrize("together", [1, 7, 3 * REMEMBERED])
def test_what_is_older_than_the_last_tokens_is_forgotten(together: int) -> None:
    gaps = TokenGaps()
    for _ in range(0, REMEMBERED, together):
        gaps.add(10.0 * together, together)
    for left in range(REMEMBERED, 0, -7):
        gaps.add(0.01 * min(left, 7), min(left, 7))
    assert gaps.quantile(1.0) == pytest.approx(0.01, rel=1 / 39)


def test_what_is_shorter_and_longer_than_all_bounds_counts_at_the_ends() -> None:
    gaps = TokenGaps()
    gaps.add(0.0, 1)
    assert (gaps.quantile(0.5) or 1) < LEAST_SECONDS
    gaps.add(1e9, 1)
    assert (gaps.quantile(1.0) or 0) > 200


def test_nothing_is_known_without_a_gap() -> None:
    gaps = TokenGaps()
    gaps.add(1.0, 0)
    assert gaps.quantile(0.5) is None
