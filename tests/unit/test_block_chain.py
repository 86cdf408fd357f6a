"""The chain of a block against a look at each of its blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.block_chain import chain_view
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.last_prompts import LastPrompt
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier

TOKENS = 4
TIERS = [tier.name.lower() for tier in Tier]


def prompt(tokens: list[int], regions: RegionMap | None = None) -> LastPrompt:
    return LastPrompt("m", None, np.array(tokens, np.uint32), hash_blocks(tokens, TOKENS), regions, worker=0, ended=0.0)


words = st.lists(st.integers(0, 1), min_size=4, max_size=40).map(lambda bits: [bit for bit in bits for _ in (0, 1, 2)])


@given(
    st.lists(words, min_size=1, max_size=4),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(Tier), st.integers(0, 20)), max_size=6),
    st.integers(1, 100),
)
def test_each_block_is_in_a_part_that_says_who_has_it_where_and_as_what(
    texts: list[list[int]], blocks: int, held: list[tuple[int, Tier, int]], cut: int
) -> None:
    own = texts[0]
    spans = [Span(0, min(cut, len(own)), Region.SYSTEM)]
    if cut < len(own):
        spans.append(Span(cut, len(own), Region.USER))
    prompts = [("own", prompt(own, RegionMap(tuple(spans)))), *((f"s{n}", prompt(one)) for n, one in enumerate(texts))]
    hashes = prompts[0][1].hashes
    index = PrefixIndex()
    for worker, tier, count in held:
        index.store(worker, hashes[:count], tier=tier)
    depths = index.match(hashes)
    chain = chain_view("own", blocks, prompts, depths, [0, 1], TOKENS)
    count = min(blocks, len(hashes))
    assert (chain.end_token, chain.told_tokens, chain.prompt_tokens) == (count * TOKENS, count * TOKENS, len(own))
    told = {}
    for part in chain.parts:
        for start in range(part.start_token, part.end_token, TOKENS):
            told[start // TOKENS] = part
    assert sorted(told) == list(range(count))
    for place, part in told.items():
        sharing = [name for name, each in prompts if each.hashes[: place + 1].tolist() == hashes[: place + 1].tolist()]
        assert (part.names, part.sessions) == (sharing, len(sharing))
        assert part.region == ("system" if place * TOKENS < cut else "user")
        for worker in (0, 1):
            reached = [tier for number, tier in enumerate(TIERS) if depths[worker][number] > place]
            assert part.tiers[str(worker)] == (reached[0] if reached else None)


def test_a_prompt_in_very_many_parts_is_told_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.block_chain.MAX_PARTS", 2)
    tokens = list(range(40))
    others = [(f"s{end}", prompt(tokens[:end])) for end in (8, 16, 24)]
    prompts = [("own", prompt(tokens)), *others]
    chain = chain_view("own", 10, prompts, PrefixIndex().match(prompts[0][1].hashes), [0], TOKENS)
    assert (chain.told_tokens, chain.end_token) == (16, 40)
    assert [(part.start_token, part.sessions) for part in chain.parts] == [(0, 4), (8, 3)]
