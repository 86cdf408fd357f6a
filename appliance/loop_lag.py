"""How long others had to wait for the event loop, measured all the time.

A task sleeps for a moment and sees how late it wakes. What held the loop meanwhile held it for that long at least, and
for `INTERVAL_SECONDS` more at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from appliance.last_minute import LastMinute

INTERVAL_SECONDS: Final = 0.01
"""Measured: waking so often takes 1 % of a core that does nothing else."""


class Lag(NamedTuple):
    """Seconds. `p99` is a `LastMinute.quantile`."""

    max_seconds: float
    p99_seconds: float


class LoopLag:
    """Run `run` as a task of the loop to measure. Holds a minute."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lags = LastMinute(clock)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + INTERVAL_SECONDS
            await self._sleep(INTERVAL_SECONDS)
            self.add(max(0.0, self._clock() - due))

    def add(self, lag_seconds: float) -> None:
        """One measurement, made now."""
        self._lags.add(lag_seconds)

    def last_minute(self) -> Lag | None:
        """Does not mutate. `None` when nothing was measured."""
        longest, p99 = self._lags.max_seconds, self._lags.quantile(0.99)
        return None if longest is None or p99 is None else Lag(longest, p99)

    def check_integrity(self) -> None:
        self._lags.check_integrity()
