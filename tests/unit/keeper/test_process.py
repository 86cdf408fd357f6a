"""The keeper as the supervisor starts it: a child that is asked over pipes, killed, and started again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.tables import mapped
from appliance.keeper.wire import (
    DiskPlace,
    KeeperSettings,
    KeeperStats,
    Opening,
    Promote,
    Promoted,
    Told,
    frame,
    read_frame,
)
from tests.unit.cache.arena.arenas import ROW_BYTES, keys, opened
from tests.unit.keeper.keepers import content, store

ROWS = 8
SECONDS = 30


def is_written(told: msgspec.Struct, count: int) -> bool:
    disk = told.disk if isinstance(told, KeeperStats) else None
    return disk is not None and disk.slab.used >= count and not disk.writing.queued


class Child:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.input, self.output = process.stdin, process.stdout
        self.heard: list[msgspec.Struct] = []

    async def until(self, is_it: Callable[[msgspec.Struct], bool]) -> msgspec.Struct:
        """The first message of which this is true."""
        async with asyncio.timeout(SECONDS):
            while True:
                message: msgspec.Struct | None = await read_frame(self.output, Told)
                assert message is not None, await self.process.stderr.read() if self.process.stderr else None
                self.heard.append(message)
                if is_it(message):
                    return message

    async def written(self, count: int) -> None:
        await self.until(lambda told: is_written(told, count))

    async def promote(self, *numbers: int) -> int:
        self.input.write(frame(Promote(7, keys(*numbers).tobytes())))
        before = len(self.heard)
        await self.until(lambda told: isinstance(told, Promoted) and told.is_last)
        answers = [told for told in self.heard[before:] if isinstance(told, Promoted)]
        assert {told.number for told in answers} == {7}
        return len(b"".join(told.tiers for told in answers))


@asynccontextmanager
async def keeper(folder: Path, num_bytes: int = 2**20) -> AsyncIterator[Child]:
    settings = KeeperSettings(
        str(folder / "memory"), str(folder / "locks"), DiskPlace(str(folder / "disk/slab"), num_bytes)
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "appliance.keeper",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdin is not None
    process.stdin.write(frame(settings))
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def engine(tmp_path: Path) -> ArenaIndex:
    return opened(tmp_path, ROWS, b"e" * 16)


async def ends(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), SECONDS)


async def test_killed_while_it_writes_it_has_on_disk_what_it_said(tmp_path: Path, engine: ArenaIndex) -> None:
    memory = mapped(engine.place.rows_file, ROWS * ROW_BYTES)
    async with keeper(tmp_path) as first:
        store(engine, memory, 1, 2, 3)
        await first.written(3)
        store(engine, memory, *range(10, 18))
        first.process.kill()
        assert await ends(first.process) == -9
    engine.reap()
    engine.check_integrity()
    async with keeper(tmp_path) as second:
        await second.until(lambda told: isinstance(told, Opening) and told.seen == told.rows)
        assert content(engine, memory, 1) is None
        assert await second.promote(1, 2, 3) == 3
        assert [content(engine, memory, number) for number in (1, 2, 3)] == [1, 2, 3]
        await second.written(3)


async def test_its_death_gives_back_what_it_held_in_the_arena(tmp_path: Path, engine: ArenaIndex) -> None:
    memory = mapped(engine.place.rows_file, ROWS * ROW_BYTES)
    for _ in range(3):
        async with keeper(tmp_path) as child:
            await child.until(lambda told: isinstance(told, KeeperStats))
            store(engine, memory, *range(20, 28))
            child.process.kill()
            await ends(child.process)
        engine.reap()
        engine.check_integrity()
        assert engine.stats.held == 0


async def test_it_ends_when_the_supervisor_is_gone(tmp_path: Path, engine: ArenaIndex) -> None:
    async with keeper(tmp_path) as child:
        await child.until(lambda told: isinstance(told, KeeperStats))
        child.input.close()
        assert await ends(child.process) == 0


async def test_what_is_no_message_ends_it(tmp_path: Path, engine: ArenaIndex) -> None:
    async with keeper(tmp_path) as child:
        await child.until(lambda told: isinstance(told, KeeperStats))
        child.input.write(b"\xff" * 100)
        assert await ends(child.process) == 0


@pytest.mark.parametrize("num_bytes", [4096, 2**50])
async def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path, engine: ArenaIndex, num_bytes: int) -> None:
    async with keeper(tmp_path, num_bytes) as child:
        _, errors = await asyncio.wait_for(child.process.communicate(), SECONDS)
        assert child.process.returncode == 1
        assert errors.startswith(os.fsencode(tmp_path / "disk/slab") + b": ")
        assert len(errors.splitlines()) == 1
