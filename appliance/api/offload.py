"""Reading large requests beside the loop that serves tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")
Item = TypeVar("Item")

# Measured: 64 KB of the densest JSON take up to 17 ms to parse and decode, 64 KB of a real conversation 0.3 ms.
LARGE_BYTES: Final = 2**16
ITEMS_AT_ONCE: Final = 128


@dataclass(frozen=True, slots=True)
class Offload:
    """Where one request is read: in the loop while it is small, since a thread costs it more than it takes, else in a
    thread. `turns` lets one thread work at a time, for two would have the loop wait twice as long for its turn."""

    num_bytes: int = 0
    turns: asyncio.Semaphore | None = None

    async def run(self, function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """What `function` returns or raises."""
        if self.turns is None or self.num_bytes <= LARGE_BYTES:
            return function(*args, **kwargs)
        async with self.turns:
            return await asyncio.to_thread(function, *args, **kwargs)

    def with_more(self, num_bytes: int) -> Offload:
        """The same for a request that turned out to be about `num_bytes` more."""
        return replace(self, num_bytes=self.num_bytes + num_bytes)


HERE: Final = Offload()
"""Everything in the loop."""


async def paced(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items; others get their turn after each `ITEMS_AT_ONCE`."""
    for position, item in enumerate(items, start=1):
        if position % ITEMS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield item
