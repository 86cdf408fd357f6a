"""The map of an arena against a plain look at each of its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from appliance.cache.arena import index as arena_index
from appliance.cache.arena.row_map import NOBODY
from appliance.cache.arena.tables import short_hashes
from tests.unit.cache.arena.arenas import keys, opened, parents, store, worth


@pytest.fixture
def now_ms(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [1_000_000]
    monkeypatch.setattr(arena_index, "_now_ms", lambda: now[0])
    return now


def test_each_row_is_a_cell_where_there_is_room(tmp_path: Path, now_ms: list[int]) -> None:
    index = opened(tmp_path)
    index.set_namespace(np.array([5, 6, 7, 8], np.uint64))
    first = store(index, 1, 2, session="s", priority=60)
    now_ms[0] += 1500
    (second,) = store(index, 3, session="t")
    (nobody,) = store(index, 4)
    leased = index.look_up(keys(3))
    written = index.begin_store(keys(5))
    found = index.row_map(100, ["t", "s", "never seen"])
    assert (found.num_rows, found.per_cell) == (8, 1)
    assert np.flatnonzero(found.filled).tolist() == sorted([*first, second, nobody])
    assert np.flatnonzero(found.held).tolist() == sorted([second, *written.tolist()])
    assert not found.awaited.any()
    owner = [None if place == NOBODY else found.names[place] for place in found.owners.tolist()]
    assert [owner[row] for row in (*first, second, nobody, *written.tolist())] == ["s", "s", "t", None, None]
    assert found.priorities[[*first, second]].tolist() == [60, 60, 35]
    assert found.ages_ms[[*first, second]].tolist() == [1500, 1500, 0]
    called = short_hashes(index.block_hashes(keys(1, 2, 3)))
    assert found.hashes[[*first, second]].tolist() == called.tolist()
    index.release(leased)
    index.close()


def test_sessions_that_nobody_knows_own_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path)
    store(index, 1, session="s")
    found = index.row_map(1, [])
    assert (found.names, found.owners.tolist(), found.filled.tolist(), found.per_cell) == ([], [NOBODY], [1], 8)
    index.close()


def test_a_claim_whose_time_is_over_counts_no_more(tmp_path: Path, now_ms: list[int]) -> None:
    index = opened(tmp_path)
    index.begin_store(keys(1))
    index.end_store(keys(1), parents(None), "s", worth(1, 90, 1000), is_whole=True)
    assert index.row_map(1, ["s"]).priorities.tolist() == [90]
    now_ms[0] += 5000
    assert index.row_map(1, ["s"]).priorities.tolist() == [35]
    index.close()


def test_rows_out_of_use_are_no_part_of_it(tmp_path: Path) -> None:
    index = opened(tmp_path)
    store(index, 1, 2, session="s")
    index.retire(5)
    found = index.row_map(100, ["s"])
    assert (found.num_rows, len(found.filled), int(found.filled.sum()), int(found.held.sum())) == (3, 3, 2, 0)
    index.retire(3)
    empty = index.row_map(100, ["s"])
    assert (empty.num_rows, empty.filled.tolist(), empty.names) == (0, [], [])
    index.close()


def test_another_way_into_the_arena_sees_the_same(tmp_path: Path) -> None:
    index, other = opened(tmp_path), opened(tmp_path, token=None)
    store(index, 1, 2, 3, session="s")
    for cells in (1, 2, 3, 8):
        one, same = index.row_map(cells, ["s"]), other.row_map(cells, ["s"])
        assert one.filled.tolist() == same.filled.tolist()
        assert sum(one.filled.tolist()) == 3
    other.close()
    index.close()
