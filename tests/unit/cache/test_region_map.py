from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import IntegrityError, InvalidRange
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from tests.unit.cache.retention_strategies import region_maps, unhurried


@unhurried
@given(region_maps())
def test_each_token_has_the_span_that_covers_it(regions: RegionMap) -> None:
    regions.check_integrity()
    for token in range(regions.tokens):
        (expected,) = [span for span in regions.spans if span.start <= token < span.end]
        assert regions.at(token) == expected


@unhurried
@given(region_maps(), st.integers(-3, 50), st.one_of(st.none(), st.integers(-3, 50)))
def test_a_slice_has_each_token_in_it_once_with_its_region(regions: RegionMap, start: int, end: int | None) -> None:
    found = {token: span for span in regions.slice(start, end) for token in range(span.start, span.end)}
    stop = regions.tokens if end is None else min(end, regions.tokens)
    assert list(found) == list(range(max(start, 0), stop))
    assert all(span[2:] == regions.at(token)[2:] for token, span in found.items())


@pytest.mark.parametrize("token", [-1, 5])
def test_a_token_outside_the_prompt_has_no_span(token: int) -> None:
    with pytest.raises(IndexError):
        RegionMap([Span(0, 5, Region.USER)]).at(token)


def test_an_empty_prompt_has_no_tokens() -> None:
    assert RegionMap([]).tokens == 0
    assert list(RegionMap([]).slice()) == []


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(1, 5)], "span 0 (user, tokens 1 to 5) leaves a gap before it: it must start at 0"),
        ([(0, 5), (6, 8)], "span 1 (user, tokens 6 to 8) leaves a gap before it: it must start at 5"),
        ([(0, 5), (4, 8)], "span 1 (user, tokens 4 to 8) overlaps the one before it: it must start at 5"),
        ([(0, 5), (5, 3)], "span 1 (user, tokens 5 to 3) is reversed: its end must be above 5"),
        ([(0, 5), (5, 5)], "span 1 (user, tokens 5 to 5) is empty: its end must be above 5"),
    ],
)
def test_spans_that_do_not_cover_a_prompt_are_refused(ranges: list[tuple[int, int]], said: str) -> None:
    with pytest.raises(InvalidRange) as refused:
        RegionMap(Span(*ends, Region.USER, Origin(0, 0)) for ends in ranges)
    assert refused.value.message == said


def test_a_map_that_was_tampered_with_is_found() -> None:
    regions = RegionMap([Span(0, 5, Region.USER)])
    regions.spans = (Span(0, 3, Region.USER), Span(4, 5, Region.USER))
    with pytest.raises(IntegrityError, match="gap"):
        regions.check_integrity()
    regions.spans = (Span(0, 3, Region.USER), Span(3, 5, Region.USER))
    with pytest.raises(IntegrityError, match="arrays"):
        regions.check_integrity()
