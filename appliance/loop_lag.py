"""How long others had to wait for the event loop, measured all the time.

A task sleeps for a moment and sees how late it wakes. What held the loop meanwhile held it for that long at least, and
for `INTERVAL_SECONDS` more at most.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

INTERVAL_SECONDS: Final = 0.01
"""Measured: waking so often takes 1 % of a core that does nothing else."""
SLOT_SECONDS: Final = 5.0
NUM_SLOTS: Final = 12
BOUNDS_SECONDS: Final = tuple(0.0001 * 2 ** (step / 4) for step in range(68))
"""Upper ends of the histogram's buckets, 19 % apart, up to 11 s; one more bucket takes what is above."""


class Lag(NamedTuple):
    """Seconds. `p99` is the upper end of a bucket, so up to 19 % too high, but never above `max`."""

    max_seconds: float
    p99_seconds: float


@dataclass(slots=True)
class Slot:
    """The lags of `SLOT_SECONDS`."""

    number: int
    max_seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))


class LoopLag:
    """Run `run` as a task of the loop to measure. Holds a minute, in a thousand numbers however busy the loop is."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._slots: deque[Slot] = deque(maxlen=NUM_SLOTS)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + INTERVAL_SECONDS
            await self._sleep(INTERVAL_SECONDS)
            self.add(max(0.0, self._clock() - due))

    def add(self, lag_seconds: float) -> None:
        """One measurement, made now."""
        slot = self._slot()
        slot.max_seconds = max(slot.max_seconds, lag_seconds)
        slot.counts[bisect_left(BOUNDS_SECONDS, lag_seconds)] += 1

    def last_minute(self) -> Lag | None:
        """Does not mutate. `None` when nothing was measured."""
        oldest = int(self._clock() // SLOT_SECONDS) - NUM_SLOTS
        recent = [slot for slot in self._slots if slot.number > oldest]
        if not recent:
            return None
        longest = max(slot.max_seconds for slot in recent)
        return Lag(longest, min(longest, _quantile(recent, 0.99)))

    def check_integrity(self) -> None:
        numbers = [slot.number for slot in self._slots]
        if numbers != sorted(set(numbers)) or len(numbers) > NUM_SLOTS:
            raise AssertionError(f"slots {numbers} are not {NUM_SLOTS} in order")
        if not all(any(slot.counts) for slot in self._slots):
            raise AssertionError("a slot is kept that measured nothing")

    def _slot(self) -> Slot:
        number = int(self._clock() // SLOT_SECONDS)
        if not self._slots or self._slots[-1].number < number:
            self._slots.append(Slot(number))
        return self._slots[-1]


def _quantile(slots: list[Slot], share: float) -> float:
    """The least bound that `share` of all lags stayed within."""
    counts = [sum(column) for column in zip(*(slot.counts for slot in slots), strict=True)]
    wanted = share * sum(counts)
    seen = 0
    for bound, count in zip(BOUNDS_SECONDS, counts, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return float("inf")
