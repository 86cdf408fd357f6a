"""How many generations may be in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from appliance.api.problems import Overloaded


class Admission:
    """Counts generations in flight, never more than `limit`; `refused` counts those turned away."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.refused = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place. Raises `Overloaded` at once when there is none."""
        if self.in_flight >= self.limit:
            self.refused += 1
            raise Overloaded(f"this box already runs {self.limit} requests, its limit", code="overloaded")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._wake_one()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one place as soon as there is one. Those who cannot wait (`slot`) may come first."""
        while self.in_flight >= self.limit:
            await self._change()
        with self.slot():
            yield

    def check_integrity(self) -> None:
        if not 0 <= self.in_flight <= self.limit:
            raise AssertionError(f"{self.in_flight} generations in flight, {self.limit} allowed")

    async def _change(self) -> None:
        """Return when a place was given back. A call that is cancelled leaves the news to the next."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
