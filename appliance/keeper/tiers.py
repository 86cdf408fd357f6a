"""The two tiers between which a keeper moves blocks, and who does the moving."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.slab.file import Slab
from appliance.cache.slab.index import SlabIndex

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Tiers:
    """`memory` is the arena's rows, mapped. The two indexes belong to the loop's thread; a row that it has taken or
    leased may be read and written by a thread of the pool."""

    arena: ArenaIndex
    memory: mmap.mmap
    slab: Slab
    index: SlabIndex
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor

    def row(self, number: int) -> memoryview:
        """A row of the arena."""
        size = self.slab.shape.row_bytes
        return memoryview(self.memory)[number * size : (number + 1) * size]


async def all_of(pool: ThreadPoolExecutor, calls: Sequence[Callable[[], Result]]) -> list[Result | OSError]:
    """Run them in the pool, as many at once as it has threads. An `OSError` is an answer like any other.

    Who is cancelled here is so only when all have ended: a row must not be given out while a thread is at it.
    """
    loop = asyncio.get_running_loop()

    def answered(call: Callable[[], Result]) -> Result | OSError:
        try:
            return call()
        except OSError as error:
            return error

    answers = asyncio.gather(*(loop.run_in_executor(pool, answered, call) for call in calls))
    try:
        return list(await asyncio.shield(answers))
    except asyncio.CancelledError:
        await asyncio.wait({answers})
        raise
