from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from appliance.cache.arena import index as index_module
from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.kernels import BEING_WRITTEN, BEING_WRITTEN_BY_US, MISS
from appliance.cache.arena.place import MAX_OWNERS, ArenaPlace
from appliance.cache.arena.tables import BUSY, CHANGE_RING, Geometry
from appliance.cache.errors import CacheError, IntegrityError, LayoutMismatch
from tests.unit.cache.arena.arenas import ROW_BYTES, held, keys, opened, parents, store, worth


def test_what_one_engine_stored_another_finds_in_the_same_rows(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    rows = store(a, 1, 2, 3)
    assert b.look_up(keys(1, 2, 3)).tolist() == rows
    assert b.stats.used == 3


def test_a_block_is_stored_once_however_many_offer_it(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    store(a, 1, 2)
    assert b.begin_store(keys(1, 2, 3)).tolist()[:2] == [MISS, MISS]
    assert a.begin_store(keys(3)).tolist() == [MISS]


def test_a_row_that_is_written_is_no_hit_and_tells_who_writes_it(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    a.begin_store(keys(1))
    assert a.look_up(keys(1)).tolist() == [BEING_WRITTEN_BY_US]
    assert b.look_up(keys(1)).tolist() == [BEING_WRITTEN]


def test_a_lookup_stops_at_the_first_miss_unless_told_otherwise(tmp_path: Path) -> None:
    a = opened(tmp_path)
    store(a, 1, 3)
    assert len(a.look_up(keys(1, 2, 3))) == 2
    assert len(a.look_up(keys(1, 2, 3), stops_at_miss=False)) == 3


def test_a_leased_row_outlives_any_store_and_goes_when_it_is_released(tmp_path: Path) -> None:
    a, b = opened(tmp_path, 4), opened(tmp_path, token=b"b" * 16)
    store(a, 1, 2)
    rows = b.look_up(keys(1, 2))
    store(a, 11, 12)
    store(a, 13, 14)
    assert held(a, 1, 2) == [1, 2]
    b.release(rows)
    store(a, 15, 16, 17, 18)
    assert held(a, 1, 2) == []


def test_each_lease_is_given_back_by_itself(tmp_path: Path) -> None:
    a = opened(tmp_path, 2)
    store(a, 1, 2)
    rows = a.look_up(keys(1, 2))
    a.lease(rows, "s", worth(2))
    a.release(rows)
    assert a.begin_store(keys(3)).tolist() == [MISS]
    a.release(rows)
    assert a.begin_store(keys(3)).tolist() != [MISS]
    a.check_integrity()


def test_where_there_is_no_room_the_head_is_stored_and_the_rest_counted(tmp_path: Path) -> None:
    a = opened(tmp_path, 3)
    a.begin_store(keys(1))
    rows = a.begin_store(keys(2, 3, 4)).tolist()
    assert [row == MISS for row in rows] == [False, False, True]
    assert a.stats.dropped_stores == 1


def test_the_tail_of_a_prompt_goes_before_its_head(tmp_path: Path) -> None:
    a = opened(tmp_path, 4)
    store(a, 1, 2, 3, 4)
    store(a, 11)
    assert held(a, 1, 2, 3, 4) == [1, 2, 3]


def test_what_is_offered_again_was_used(tmp_path: Path) -> None:
    a = opened(tmp_path, 4)
    store(a, 1)
    store(a, 2)
    store(a, 1)
    store(a, 11, 12, 13)
    assert held(a, 1, 2) == [1]


def test_what_is_worth_more_stays_longer(tmp_path: Path) -> None:
    a = opened(tmp_path, 4)
    store(a, 1, session="lead", priority=90)
    store(a, 2, 3, 4, session="other")
    store(a, 11, 12, 13, session="burst")
    assert held(a, 1, 2, 3, 4) == [1]


def test_a_store_that_failed_leaves_nothing(tmp_path: Path) -> None:
    a = opened(tmp_path)
    a.begin_store(keys(1, 2))
    assert a.end_store(keys(1, 2), parents(None, 1), None, worth(2), is_whole=False) == 2
    assert held(a, 1, 2) == []
    a.check_integrity()
    assert a.stats.held == 0


def test_the_end_of_a_store_that_nobody_began_changes_nothing(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    a.begin_store(keys(1))
    assert b.end_store(keys(1, 2), parents(None, 1), None, worth(2), is_whole=True) == 0
    assert held(b, 1) == []
    b.check_integrity()


def test_a_session_beyond_the_slots_takes_that_of_the_one_used_longest_ago(tmp_path: Path) -> None:
    a = opened(tmp_path, 8, num_sessions=3)
    for number, name in enumerate(("one", "two", "one", "three")):
        store(a, number, session=name, priority=80)
    a.set_keeps({"one": 2.0, "two": 9.0, "three": 1.0})
    a.check_integrity()


# Owners


def test_two_processes_of_one_engine_are_one_owner(tmp_path: Path) -> None:
    scheduler, worker = opened(tmp_path), opened(tmp_path)
    scheduler.begin_store(keys(1))
    assert worker.look_up(keys(1)).tolist() == [BEING_WRITTEN_BY_US]


def test_an_owner_is_dead_only_when_all_its_processes_are(tmp_path: Path) -> None:
    scheduler, worker, b = opened(tmp_path), opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    scheduler.begin_store(keys(1))
    scheduler.close()
    assert b.reap() == (0, 0)
    worker.close()
    assert b.reap() == (1, 0)


def test_what_a_dead_engine_held_is_given_back_and_what_it_stored_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000]
    monkeypatch.setattr(index_module, "_now_ms", lambda: now[0])
    a, b = opened(tmp_path, 4), opened(tmp_path, token=b"b" * 16)
    store(a, 1, 2)
    a.look_up(keys(1, 2))
    a.begin_store(keys(3, 4))
    a.close()
    assert b.reap() == (2, 2)
    b.check_integrity()
    assert held(b, 1, 2, 3, 4) == [1, 2]
    assert b.stats.held == 2, "rows that may still be written must not be given to others"
    now[0] += index_module.QUARANTINE_MS
    b.reap()
    assert b.stats.held == 0
    b.check_integrity()


def test_the_place_of_a_dead_engine_is_given_to_the_next(tmp_path: Path) -> None:
    keeper = opened(tmp_path)
    for number in range(2 * MAX_OWNERS):
        opened(tmp_path, token=number.to_bytes(16, "big")).close()
    keeper.check_integrity()


def test_more_engines_than_places_are_refused(tmp_path: Path) -> None:
    living = [opened(tmp_path, token=number.to_bytes(16, "big")) for number in range(MAX_OWNERS)]
    with pytest.raises(CacheError, match="no place for another"):
        opened(tmp_path, token=b"z" * 16)
    assert len(living) == MAX_OWNERS


def test_an_engine_that_forgot_its_jobs_gives_up_its_own_rows_only(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    store(a, 1)
    a.begin_store(keys(2))
    b.begin_store(keys(3))
    a.give_up()
    assert a.look_up(keys(1, 2, 3), stops_at_miss=False).tolist()[1:] == [MISS, BEING_WRITTEN]
    a.check_integrity()


# Death in the middle of a change


def test_a_change_that_was_cut_short_is_mended_by_the_next(tmp_path: Path) -> None:
    a, b = opened(tmp_path), opened(tmp_path, token=b"b" * 16)
    store(a, 1, 2, 3)
    a.begin_store(keys(4))
    rows = a.look_up(keys(1))
    t = a._tables
    t.header[BUSY] = os.getpid()
    t.table[:] = 0
    a._core._tables.lists["first"] = 3
    t.leases[rows[0], 5] = 0
    assert held(b, 1, 2, 3) == [1, 2, 3]
    assert b.look_up(keys(4)).tolist() == [BEING_WRITTEN]
    b.check_integrity()
    assert b.stats.rebuilds == 1


def test_a_row_whose_key_was_not_written_whole_is_given_up(tmp_path: Path) -> None:
    a = opened(tmp_path)
    rows = store(a, 1, 2)
    a._tables.keys[rows[0], 3] += np.uint64(1)
    a._tables.header[BUSY] = 1
    assert held(a, 1, 2) == [2]
    a.check_integrity()


def test_a_contradiction_is_found(tmp_path: Path) -> None:
    a = opened(tmp_path)
    rows = store(a, 1)
    a._tables.leases[rows[0], 0] = 3
    with pytest.raises(IntegrityError, match="holders"):
        a.check_integrity()


# What is told


def test_changes_are_told_once_and_in_order(tmp_path: Path) -> None:
    a = opened(tmp_path, 2)
    store(a, 1, 2)
    first = a.changes_since(0)
    store(a, 3)
    second = a.changes_since(first.position)
    assert (first.is_stored.tolist(), first.keys.tolist()) == ([True, True], keys(1, 2).tolist())
    assert (second.is_stored.tolist(), second.keys.tolist()) == ([False, True], keys(2, 3).tolist())
    assert a.changes_since(second.position).is_stored.size == 0


def test_who_is_too_far_behind_reads_all_that_is_stored(tmp_path: Path) -> None:
    a = opened(tmp_path, 2)
    store(a, 1)
    a._tables.header[7] += CHANGE_RING + 1
    told = a.changes_since(0)
    assert not told.is_whole
    stored, position = a.stored_keys()
    assert (stored.tolist(), position) == (keys(1).tolist(), told.position)


# Making and opening


def test_the_memory_is_there_from_the_start(tmp_path: Path) -> None:
    a = opened(tmp_path, 16)
    found = a.place.rows_file.stat()
    assert (found.st_size, found.st_blocks * 512) == (16 * ROW_BYTES, 16 * ROW_BYTES)
    assert found.st_mode & 0o077 == 0, "it holds other people's prompts"


def test_rows_of_another_size_are_refused(tmp_path: Path) -> None:
    a = opened(tmp_path)
    with pytest.raises(LayoutMismatch, match=r"4096 bytes, this engine needs 8192"):
        ArenaIndex.open(a.place, Geometry(8, 8192))


def test_who_makes_none_finds_the_one_that_is_there(tmp_path: Path) -> None:
    place = ArenaPlace(tmp_path / "memory", tmp_path / "locks")
    with pytest.raises(CacheError, match="there is no arena"):
        ArenaIndex.open(place)
    opened(tmp_path, 5)
    assert ArenaIndex.open(place).geometry.num_rows == 5


def test_an_arena_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    place = ArenaPlace(tmp_path / "memory", tmp_path / "locks")
    with pytest.raises(CacheError, match="no room for an arena of"):
        ArenaIndex.open(place, Geometry(8, 2**50))
    assert not place.index_file.exists()
    assert not place.rows_file.exists()


def test_what_is_removed_stays_usable_for_those_who_have_it(tmp_path: Path) -> None:
    a = opened(tmp_path)
    a.place.remove()
    assert store(a, 1)
    assert not place_files(a.place)


def place_files(place: ArenaPlace) -> list[Path]:
    return [path for path in (place.index_file, place.rows_file, place.lock_file) if path.exists()]
