from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.cells import Cells


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=0, max_size=40), st.integers(1, 50), st.randoms())
def test_cells_say_what_a_look_at_each_block_says(
    blocks: list[tuple[bool, bool]], cells: int, random: np.random.Generator
) -> None:
    filled, held = (np.array([block[side] for block in blocks], np.bool_) for side in (0, 1))
    uses = list(range(len(blocks)))
    random.shuffle(uses)
    found = Cells(len(blocks), cells)
    groups = [range(len(blocks))[start : start + found.per_cell] for start in range(0, len(blocks), found.per_cell)]
    assert len(groups) <= cells
    assert found.counted(held).tolist() == [sum(blocks[place][1] for place in group) for group in groups]
    shown = found.last_used(filled, np.array(uses, np.int64)).tolist()
    assert len(shown) == len(groups)
    for place, group in zip(shown, groups, strict=True):
        assert place in group
        full = [one for one in group if blocks[one][0]]
        assert not full or place == max(full, key=lambda one: uses[one])
