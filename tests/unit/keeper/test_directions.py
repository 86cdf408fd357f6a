"""Both directions: from the arena to the disk, and back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.cache.arena.tables import short_hashes
from appliance.cache.tier import Tier
from tests.unit.cache.arena.arenas import ROW_BYTES, keys
from tests.unit.keeper.keepers import Bench, bench


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    one = bench(tmp_path)
    yield one
    one.check()
    one.keeper.close()


async def test_what_the_arena_lost_is_brought_back_bit_for_bit(one: Bench) -> None:
    one.store(1, 2, 3)
    assert await one.write_all() == 3
    one.store(*range(10, 18))
    assert one.content(1) is None
    assert await one.promote(1, 2, 3) == 3
    assert [one.content(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert one.stats.counts.promoted == 3


async def test_what_was_brought_back_is_not_written_again(one: Bench) -> None:
    one.store(1, 2)
    await one.write_all()
    one.store(*range(10, 18))
    await one.write_all()
    await one.promote(1, 2)
    assert await one.write_all() == 0
    assert one.stats.slab.written == 10


async def test_a_prompt_is_brought_back_as_far_as_nothing_is_missing(one: Bench) -> None:
    one.store(1, 2)
    await one.write_all()
    one.store(*range(10, 18))
    assert await one.promote(1, 2, 9, 2) == 2
    assert await one.promote(9, 1) == 0
    assert await one.promote(*range(10, 16)) == 6, "these are in the arena"
    assert one.stats.counts.promoted == 2


async def test_parents_and_worth_go_down_and_come_back(one: Bench) -> None:
    one.store(1, 2, priority=70)
    await one.write_all()
    slab_rows = one.disk.index.rows_of(keys(1, 2))
    assert one.disk.index.worths(slab_rows).priorities.tolist() == [70, 70]
    assert one.disk.index._core.parents(slab_rows).tolist() == [-1, slab_rows[0]]
    one.store(*range(10, 18))
    assert one.content(1) is None
    assert await one.promote(1, 2) == 2
    rows = one.engine.rows_of(keys(1, 2))
    before, worth = one.engine.facts(rows)
    assert worth.priorities.tolist() == [70, 70]
    assert before.tolist() == [[0] * 4, keys(1)[0].tolist()]


async def test_a_flipped_byte_is_a_miss_is_counted_and_does_not_come_again(one: Bench, tmp_path: Path) -> None:
    one.store(1, 2, 3)
    await one.write_all()
    one.store(*range(10, 18))
    row = int(one.disk.index.rows_of(keys(2))[0])
    with (tmp_path / "slab").open("r+b") as file:
        file.seek(one.disk.slab.shape.offset(row) + 5000)
        file.write(b"\xff")
    assert await one.promote(1, 2, 3) == 1
    assert [one.content(number) for number in (1, 2, 3)] == [1, None, 3]
    assert one.stats.slab.bad == 1
    assert await one.promote(1, 2, 3) == 1
    assert one.stats.slab.bad == 1


async def test_a_disk_that_cannot_be_read_is_a_miss_and_counted(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    one.store(1, 2)
    await one.write_all()
    one.store(*range(10, 18))
    monkeypatch.setattr(os, "preadv", refused)
    assert await one.promote(1, 2) == 0
    assert one.stats.counts.read_errors == 2
    assert one.content(1) is None


async def test_a_disk_that_cannot_be_written_costs_the_block_and_is_counted(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        one.store(1, 2)
        assert await one.write_all() == 0
    assert one.stats.counts.write_errors == 2
    one.store(3)
    assert await one.write_all() == 1, "the next may go well"


async def test_what_finds_the_queue_full_is_dropped_and_counted(tmp_path: Path) -> None:
    one = bench(tmp_path, max_queued=3)
    one.store(1, 2, 3, 4, 5)
    assert await one.write_all() == 3
    assert one.stats.writing.dropped_full == 2
    assert (one.disk.index.rows_of(keys(1, 2, 3, 4)) >= 0).tolist() == [True, True, True, False]
    one.check()
    one.keeper.close()


async def test_the_budget_of_the_day_ends_writing_not_reading(tmp_path: Path) -> None:
    one = bench(tmp_path, budget=2 * (4096 + ROW_BYTES))
    one.store(1, 2, 3)
    assert await one.write_all() == 2
    assert one.stats.writing.dropped_budget == 1
    one.store(*range(10, 18))
    assert await one.promote(1, 2) == 2
    one.check()
    one.keeper.close()


async def test_what_a_policy_bars_from_the_disk_is_not_written_there_and_counted(one: Bench) -> None:
    one.store(1, 2)
    one.store(3, 4, barred=Tier.DISK)
    one.store(5, barred=Tier.REMOTE)
    assert await one.write_all() == 3
    assert one.stats.writing.barred == 2
    assert (one.disk.index.rows_of(keys(1, 2, 3, 4, 5)) >= 0).tolist() == [True, True, False, False, True]
    one.store(*range(10, 18))
    assert await one.write_all() == 8
    one.store(3)
    assert await one.write_all() == 1, "a row that is used again forgets what it was barred from"


async def test_what_left_the_arena_before_its_turn_is_counted(one: Bench) -> None:
    one.store(1, 2)
    assert one.keeper.to_disk is not None
    one.keeper.to_disk.follow()
    one.store(*range(10, 18))
    assert await one.write_all() == 8
    assert one.stats.writing.dropped_gone == 2


async def test_the_same_prompt_asked_for_twice_at_once_is_read_once(one: Bench) -> None:
    one.store(1, 2, 3)
    await one.write_all()
    one.store(*range(10, 18))
    assert list(await asyncio.gather(one.promote(1, 2, 3), one.promote(1, 2, 3), one.promote(1, 2))) == [3, 3, 2]
    assert one.stats.counts.promoted == 3


async def test_an_arena_that_is_too_small_gets_the_head_of_a_prompt(tmp_path: Path) -> None:
    one = bench(tmp_path, arena_rows=4)
    one.store(1, 2, 3, 4)
    await one.write_all()
    one.store(5, 6)
    await one.write_all()
    assert await one.promote(1, 2, 3, 4, 5, 6) in range(4)
    assert one.engine.stats.used == 4
    one.check()
    one.keeper.close()


async def test_who_is_cancelled_leaves_no_row_held_and_none_half_read(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.store(1, 2, 3)
    await one.write_all()
    one.store(*range(10, 18))
    reading = asyncio.create_task(one.promote(1, 2, 3))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert one.content(1) is None
    one.check()
    assert await one.promote(1, 2, 3) == 3


async def test_a_keeper_started_again_finds_all_that_was_written(tmp_path: Path) -> None:
    one = bench(tmp_path)
    one.store(1, 2, 3)
    await one.write_all()
    one.store(*range(10, 18))
    one.keeper.close()
    two = bench(tmp_path)
    assert two.stats.slab.restored == 3
    assert await two.promote(1, 2, 3) == 3
    assert [two.content(number) for number in (1, 2, 3)] == [1, 2, 3]
    two.keeper.close()


async def test_a_keeper_started_again_goes_on_in_the_order_of_uses(tmp_path: Path) -> None:
    one = bench(tmp_path)
    for numbers in ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16)):
        one.store(*numbers)
        await one.write_all()
    one.engine.flush()
    assert await one.promote(1, 2, 3, 4) == 4
    one.keeper.close()
    two = bench(tmp_path)
    two.engine.flush()
    two.store(17, 18, 19, 20)
    await two.write_all()
    there = two.disk.index.rows_of(keys(*range(1, 21))) >= 0
    assert there.tolist() == [True] * 4 + [False] * 4 + [True] * 12, "what was written after it, and not used, went"
    two.keeper.close()


async def test_what_moves_on_the_disk_is_told_once_and_what_was_restored_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.keeper.keeper.MOVED_AT_ONCE", 2)
    one = bench(tmp_path, slab_rows=4)
    one.store(1, 2, 3)
    await one.write_all()
    assert moved(one) == [(True, 1), (True, 2), (True, 3)]
    assert moved(one) == []
    one.store(4, 5)
    await one.write_all()
    assert moved(one) == [(True, 4), (False, 3), (True, 5)]
    monkeypatch.setattr("appliance.cache.slab.index.MAX_CHANGES", 2)
    await one.keeper.upkeep.flush()
    told = list(one.keeper.moved())
    assert [part.is_whole for part in told] == [False, True], "all that was told before is void"
    one.store(6)
    await one.write_all()
    one.keeper.close()
    two = bench(tmp_path, slab_rows=4)
    assert moved(two) == []
    two.keeper.close()


def moved(one: Bench) -> list[tuple[bool, int]]:
    numbers = dict(zip(short_hashes(keys(*range(20))).tolist(), range(20), strict=True))
    parts = list(one.keeper.moved())
    assert all(part.is_whole and len(part.is_stored) <= 2 for part in parts)
    hashes = [one for part in parts for one in np.frombuffer(part.hashes, np.uint64).tolist()]
    return [
        (bool(stored), numbers[name]) for name, stored in zip(hashes, b"".join(p.is_stored for p in parts), strict=True)
    ]


async def test_keys_that_are_none_bring_nothing(one: Bench) -> None:
    for none in (b"", b"x" * 33, np.zeros(8, np.uint64).tobytes()):
        assert [part async for part in one.keeper.promote(none)] == []


async def test_it_is_told_where_each_block_was(one: Bench) -> None:
    one.store(1, 2, 3, 4)
    await one.write_all()
    one.store(*range(10, 16))
    assert [one.content(number) for number in (1, 2, 3, 4)] == [1, 2, None, None]
    assert await one.brought(1, 2, 3, 4) == bytes([Tier.HOST, Tier.HOST, Tier.DISK, Tier.DISK])
    assert await one.brought(1, 2, 3, 4) == bytes([Tier.HOST] * 4)


async def test_a_long_prompt_is_told_of_in_parts_and_no_further_than_its_first_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.keeper.promotion.BATCH", 2)
    monkeypatch.setattr("appliance.keeper.promotion.AHEAD", 1)
    one = bench(tmp_path)
    one.store(1, 2, 3, 4, 5, 6)
    await one.write_all()
    one.store(*range(10, 18))
    row = int(one.disk.index.rows_of(keys(3))[0])
    with (tmp_path / "slab").open("r+b") as file:
        file.seek(one.disk.slab.shape.offset(row) + 5000)
        file.write(b"\xff")
    parts = [part async for part in one.keeper.promote(keys(1, 2, 3, 4, 5, 6).tobytes())]
    assert parts == [bytes([Tier.DISK, Tier.DISK]), b""]
    assert one.stats.counts.promoted == 3, "nobody can use what lies behind a hole"
    one.keeper.close()
