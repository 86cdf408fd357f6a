from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex
from tests.unit.cache.slab.slabs import buffer, held, keys, opened, parents, shape, worth, write


class Times:
    """Both clocks, in seconds."""

    def __init__(self) -> None:
        self.monotonic, self.wall = 5.0, 1e9

    def index(self, num_rows: int = 8) -> SlabIndex:
        return SlabIndex(num_rows, lambda: self.monotonic, lambda: self.wall)

    def pass_by(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def again(slab: Slab, times: Times, num_rows: int = 8) -> SlabIndex:
    """The index as another start finds it: only the time of day goes on."""
    slab.close()
    slab = Slab.open(slab.path, shape(num_rows))
    times.monotonic = 1.0
    index = times.index(num_rows)
    index.restore(slab.scan())
    slab.close()
    index.check_integrity()
    return index


def order(index: SlabIndex, numbers: Callable[[], range] = lambda: range(100, 200)) -> list[int]:
    """All that is there, in the order in which it goes for others."""
    gone: list[int] = []
    present = held(index, *range(100))
    for number in numbers():
        if len(gone) == len(present):
            break
        index.begin_write(keys(number))
        gone += [one for one in present if one not in gone and not held(index, one)]
    return gone


def test_what_was_used_last_goes_last_and_a_tail_before_its_head(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    write(slab, index, 1, 2, 3)
    times.pass_by(1)
    write(slab, index, 11, 12)
    index.release(index.lease(keys(1, 2, 3)))
    assert order(index) == [12, 11, 3, 2, 1]
    slab.close()


def test_after_a_restart_rows_go_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    write(slab, index, 1, 2, 3)
    times.pass_by(1)
    write(slab, index, 11, 12)
    times.pass_by(1)
    write(slab, index, 21)
    assert order(again(slab, times)) == [3, 2, 1, 12, 11, 21]


def test_the_more_important_stays_after_a_restart_too(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    write(slab, index, 1, 2, priority=80)
    times.pass_by(1)
    write(slab, index, 11, 12)
    assert order(again(slab, times)) == [12, 11, 2, 1]


def test_a_claim_ends_when_it_would_have_had_there_been_no_restart(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    write(slab, index, 1, priority=80, duration_ms=5_000)
    times.pass_by(0.5)
    write(slab, index, 2, priority=80, duration_ms=60_000)
    times.pass_by(0.5)
    write(slab, index, 11)
    times.pass_by(9)
    restarted = again(slab, times)
    assert order(restarted) == [1, 11, 2]
    times.pass_by(51)
    assert order(again(slab, times)) == [1, 2, 11], "by its use alone, once its claim is over"


def test_a_child_goes_before_its_parent_after_a_restart_whatever_they_are_worth(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    write(slab, index, 1)
    times.pass_by(1)
    rows = index.begin_write(keys(2))
    written = index.facts(keys(2), parents(1), worth(1, 90))
    slab.write(int(rows[0]), written, buffer(shape().row_bytes))
    index.finish_write(rows, written)
    times.pass_by(1)
    write(slab, index, 11)
    assert order(again(slab, times)) == [2, 1, 11]


def test_a_leased_row_stays_and_without_room_a_write_is_refused_and_counted(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab", 2), Times()
    index = times.index(2)
    write(slab, index, 1, 2)
    leased = index.lease(keys(1, 2))
    assert index.begin_write(keys(3)).tolist() == [-1]
    index.release(leased[1:])
    assert index.begin_write(keys(3, 4)).tolist() == [leased[1], -1]
    assert index.stats.refused == 2
    assert index.stats.evicted == 1
    index.check_integrity()
    slab.close()


def test_a_block_told_of_before_its_parent_or_as_its_own_hangs_behind_none() -> None:
    index = Times().index()
    rows = index.begin_write(keys(1, 2, 3))
    index.finish_write(rows, index.facts(keys(1, 2, 3), parents(2, 2, 1), worth(3)))
    assert index._core.parents(rows).tolist() == [-1, -1, rows[0]]
    index.check_integrity()


def test_a_key_written_twice_at_once_has_one_row(tmp_path: Path) -> None:
    index = Times().index()
    rows = index.begin_write(keys(1, 1, 2))
    assert rows[1] == -1
    assert (rows[[0, 2]] >= 0).all()
    assert index.begin_write(keys(2, 1)).tolist() == [-1, -1]
    index.abort(rows[[0, 2]])
    assert (index.begin_write(keys(1, 2)) >= 0).all()
    index.check_integrity()


def test_a_bad_row_is_counted_found_no_more_and_free_once_nobody_reads_it(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab", 1), Times()
    index = times.index(1)
    write(slab, index, 1)
    first, second = index.lease(keys(1)), index.lease(keys(1))
    index.drop(int(first[0]))
    index.drop(int(second[0]))
    assert index.stats.bad == 1
    assert held(index, 1) == []
    index.release(first)
    assert index.begin_write(keys(2)).tolist() == [-1], "another reads into its memory still"
    index.release(second)
    assert index.begin_write(keys(2)).tolist() == [0]
    index.check_integrity()
    slab.close()


def test_of_two_rows_with_one_key_the_later_write_counts(tmp_path: Path) -> None:
    slab, times = opened(tmp_path / "slab"), Times()
    index = times.index()
    first = write(slab, index, 1)
    index.lease(keys(1))
    index.drop(first[0])
    second = write(slab, index, 1)
    assert first != second
    restarted = again(slab, times)
    assert restarted.rows_of(keys(1)).tolist() == second
    assert restarted.stats.used == restarted.stats.restored == 1
    assert restarted.facts(keys(5), parents(None), worth(1)).generations.tolist() == [3]


def test_an_empty_slab_restores_to_an_empty_index(tmp_path: Path) -> None:
    restarted = again(opened(tmp_path / "slab"), Times())
    assert restarted.stats.used == 0
    assert (restarted.begin_write(keys(*range(8))) >= 0).all()
    assert np.array_equal(restarted.rows_of(keys(1)), [-1])
