"""The tiers between which a keeper moves blocks, and who does the moving."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.index import ArenaIndex
from appliance.cache.arena.tables import Keys, Numbers
from appliance.cache.tier import Tier
from appliance.keeper.budget import WriteBudget

Flags = NDArray[np.bool_]
Result = TypeVar("Result")


class Near(NamedTuple):
    """The arena's index, which belongs to the loop's thread, and its rows, mapped. A row that was taken or leased may
    be read and written by a thread of a pool."""

    arena: ArenaIndex
    memory: mmap.mmap

    @property
    def row_bytes(self) -> int:
        return self.arena.geometry.row_bytes

    def row(self, number: int) -> memoryview:
        size = self.row_bytes
        return memoryview(self.memory)[number * size : (number + 1) * size]


class Below(Protocol):
    """A tier below the arena. What goes wrong there is counted, and never raised."""

    @property
    def tier(self) -> Tier: ...

    @property
    def is_ready(self) -> bool:
        """Whether blocks can be written there now."""
        ...

    def lacks(self, keys: Keys) -> Flags:
        """Which of these it does not have, as far as is known without asking."""
        ...

    async def write(self, keys: Keys, held: Numbers, budget: WriteBudget) -> int:
        """Write these blocks from rows of the arena that the caller holds, as far as the budget goes; how many were."""
        ...


async def all_of(
    pool: ThreadPoolExecutor, calls: Sequence[Callable[[], Result]], together: int = 1
) -> list[Result | OSError]:
    """Run them in the pool, as many at once as it has threads, each of which takes so many one after the other. An
    `OSError` is an answer like any other.

    Who is cancelled here is so only when all have ended: a row must not be given out while a thread is at it.
    """
    loop = asyncio.get_running_loop()
    parts = [calls[start : start + together] for start in range(0, len(calls), together)]
    answers = asyncio.gather(*(loop.run_in_executor(pool, _answers, part) for part in parts))
    try:
        return list(chain.from_iterable(await asyncio.shield(answers)))
    except asyncio.CancelledError:
        await asyncio.wait({answers})
        raise


def _answers(calls: Sequence[Callable[[], Result]]) -> list[Result | OSError]:
    return [_answer(call) for call in calls]


def _answer(call: Callable[[], Result]) -> Result | OSError:
    try:
        return call()
    except OSError as error:
        return error


def leading(flags: Flags) -> int:
    """How many are true before the first that is not."""
    return len(flags) if flags.all() else int(flags.argmin())
