"""The map of a slab against a plain look at each of its rows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.arena.kernels import MISS
from appliance.cache.slab.index import SlabIndex
from appliance.cache.slab.slab_map import SlabRows, slab_map
from tests.unit.cache.slab.slabs import keys, opened, write
from tests.unit.cache.slab.test_index import Times

row = st.tuples(st.booleans(), st.booleans(), st.integers(0, 9), st.integers(0, 100), st.integers(0, 5))


@given(st.lists(row, max_size=40), st.integers(1, 50))
def test_cells_say_what_a_look_at_each_row_says(rows: list[tuple[bool, bool, int, int, int]], cells: int) -> None:
    columns = [np.array([one[side] for one in rows]) for side in range(5)]
    told = SlabRows(
        columns[0].astype(np.bool_),
        columns[1].astype(np.bool_),
        columns[2].astype(np.int64),
        columns[3].astype(np.uint8),
        columns[4].astype(np.uint32),
    )
    found = slab_map(told, cells, wall_ms=9)
    groups = [range(len(rows))[start : start + found.per_cell] for start in range(0, len(rows), found.per_cell)]
    assert len(groups) == len(found.filled) <= cells
    for place, group in enumerate(groups):
        full = [one for one in group if rows[one][0]]
        assert found.filled[place] == len(full)
        assert found.held[place] == sum(rows[one][1] for one in group)
        assert found.rows[place] in group
        if full:
            shown = max(full, key=lambda one: rows[one][2])
            assert found.rows[place] == shown
            assert (9 - found.ages_ms[place], found.priorities[place], found.reads[place]) == rows[shown][2:]


def test_a_row_tells_age_worth_how_often_it_was_brought_back_and_who_holds_it(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    first = write(slab, index, 1, 2, priority=60)
    times.pass_by(1.5)
    (second,) = write(slab, index, 3)
    rows = index.lease(keys(3))
    index.count_reads(rows)
    index.count_reads(rows)
    found = index.map(100)
    assert (found.num_rows, found.per_cell) == (8, 1)
    assert np.flatnonzero(found.filled).tolist() == sorted([*first, second])
    assert np.flatnonzero(found.held).tolist() == [second]
    assert found.ages_ms[[*first, second]].tolist() == [1500, 1500, 0]
    assert found.priorities[[*first, second]].tolist() == [60, 60, 35]
    assert found.reads[[*first, second]].tolist() == [0, 0, 2]
    assert index.keys_in(np.array([first[1], second])).tolist() == keys(2, 3).tolist()
    index.release(rows)
    slab.close()


def test_a_claim_whose_time_is_over_counts_no_more_and_a_row_begins_anew_with_each_block(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab", 1), Times()
    index = times.index(1)
    (taken,) = write(slab, index, 1, priority=90, duration_ms=1000)
    rows = index.lease(keys(1))
    index.count_reads(rows)
    index.release(rows)
    assert (index.map(1).priorities.tolist(), index.map(1).reads.tolist()) == ([90], [1])
    times.pass_by(5)
    assert index.map(1).priorities.tolist() == [35]
    assert write(slab, index, 2) == [taken]
    assert index.map(1).reads.tolist() == [0]
    slab.close()


def test_an_empty_row_has_no_key() -> None:
    index = SlabIndex(3)
    assert index.rows_of(keys(1)).tolist() == [MISS]
    assert index.keys_in(index.map(2).rows).tolist() == [[0] * 4] * 2


def test_a_million_rows_are_seen_in_a_moment() -> None:
    index = SlabIndex(1_000_000)
    taken = []
    for _ in range(3):
        began = time.thread_time()
        index.map(8192)
        taken.append(time.thread_time() - began)
    assert min(taken) < 0.1
