from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.ledger import Source, TokenRange
from appliance.cache.prompt_read import NO_TOKENS, Brought, TierTokens, read_ranges
from appliance.cache.tier import Tier

BLOCK = 4
SOURCES = {Tier.HOST: Source.HOST, Tier.DISK: Source.DISK, Tier.REMOTE: Source.REMOTE}

tiers = st.lists(st.sampled_from(list(SOURCES)), max_size=12)


def told(parts: list[list[Tier]]) -> Brought:
    brought = Brought()
    for part in parts:
        brought.add(bytes(part))
    return brought


@given(st.integers(0, 60), st.integers(0, 60), st.lists(tiers, max_size=3))
def test_every_token_that_was_read_has_the_source_that_it_has_one_by_one(
    gpu: int, loaded: int, parts: list[list[Tier]]
) -> None:
    known = [tier for part in parts for tier in part]
    expected = [
        Source.GPU if token < gpu else SOURCES[known[token // BLOCK]] if token // BLOCK < len(known) else Source.HOST
        for token in range(gpu + loaded)
    ]
    ranges = read_ranges(gpu + loaded, loaded, told(parts).ranges(BLOCK))
    assert [one.source for one in ranges for _ in range(one.tokens)] == expected
    assert [one.start for one in ranges[1:]] == [one.end for one in ranges[:-1]]
    assert all(one.tokens for one in ranges)
    below = TierTokens.of(ranges)
    assert below.by_name(gpu + loaded) == {source.value: expected.count(source) for source in list(Source)[:4]}
    assert below.total == loaded


def test_nothing_read_is_no_range() -> None:
    assert read_ranges(0, 0, ()) == ()
    assert TierTokens.of(()) == NO_TOKENS


def test_sums_are_by_tier() -> None:
    assert TierTokens(1, 2, 3) + TierTokens(10, 20, 30) == TierTokens(11, 22, 33)


def test_neighbours_from_one_tier_are_one_range() -> None:
    brought = told([[Tier.HOST, Tier.DISK], [Tier.DISK, Tier.REMOTE]])
    assert len(brought) == 4
    assert brought.ranges(BLOCK) == (TokenRange(4, 12, Source.DISK), TokenRange(12, 16, Source.REMOTE))
