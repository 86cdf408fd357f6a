"""Places of blocks in prompts against a plain look through all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.block_places import NOWHERE, places_in

names = st.integers(0, 12)


@given(st.lists(st.lists(st.integers(1, 12), unique=True, max_size=6), max_size=5), st.lists(names, max_size=12))
def test_a_block_stands_in_the_first_prompt_that_has_it(prompts: list[list[int]], blocks: list[int]) -> None:
    told = [(f"s{number}", np.array(prompt, np.uint64)) for number, prompt in enumerate(prompts)]
    found = places_in(told, np.array(blocks, np.uint64))
    for place, block in enumerate(blocks):
        first = next(((number, prompt.index(block)) for number, prompt in enumerate(prompts) if block in prompt), None)
        owner = found.owners[place]
        if first is None:
            assert (owner, found.blocks[place]) == (NOWHERE, NOWHERE)
        else:
            assert (found.names[owner], found.blocks[place]) == (f"s{first[0]}", first[1])
    assert len(set(found.names)) == len(found.names) == len({*found.owners.tolist()} - {NOWHERE})
