from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cache.arena.arenas import keys
from tests.unit.keeper.keepers import Bench, bench


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    one = bench(tmp_path, arena_rows=24, slab_rows=24)
    yield one
    one.check()
    one.keeper.close()


def spoil(one: Bench, number: int) -> None:
    """Flip a byte of the block on the disk."""
    slab = one.disk.slab
    (row,) = one.disk.index.rows_of(keys(number)).tolist()
    with slab.path.open("r+b") as file:
        file.seek(slab.shape.offset(row) + 4096 + 9)
        file.write(b"\xa5")


async def test_every_block_is_read_and_what_is_not_what_it_should_be_is_dropped_and_counted(one: Bench) -> None:
    one.store(*range(1, 21))
    await one.write_all()
    assert await one.keeper.upkeep.verify() == (20, 0)
    spoil(one, 3)
    spoil(one, 17)
    assert await one.keeper.upkeep.verify() == (20, 2)
    assert await one.keeper.upkeep.verify() == (18, 0)
    assert (one.stats.slab.bad, one.stats.slab.used) == (2, 18)
    told: list[tuple[int, int]] = []
    await one.keeper.upkeep.verify(lambda seen, blocks: told.append((seen, blocks)))
    assert told == [(16, 18), (18, 18)]


async def test_what_is_flushed_is_gone_for_this_keeper_and_the_next_and_its_rows_are_used_again(
    one: Bench, tmp_path: Path
) -> None:
    one.store(*range(1, 21))
    await one.write_all()
    assert await one.keeper.upkeep.flush() == 20
    assert (one.stats.slab.used, one.stats.slab.bad) == (0, 0)
    assert len(one.disk.slab.scan()) == 0
    one.store(*range(30, 50))
    await one.write_all()
    assert await one.keeper.upkeep.verify() == (20, 0)


async def test_blocks_that_are_read_while_all_are_flushed_come_whole_or_not_at_all(one: Bench) -> None:
    one.store(*range(1, 21))
    await one.write_all()
    one.engine.flush()
    brought, dropped = await asyncio.gather(one.promote(*range(1, 21)), one.keeper.upkeep.flush())
    assert dropped == 20
    assert [one.content(number) for number in range(1, brought + 1)] == list(range(1, brought + 1))
