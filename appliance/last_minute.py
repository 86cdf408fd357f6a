"""Durations of the last minute as a histogram: a thousand numbers, however many there were."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

SLOT_SECONDS: Final = 5.0
NUM_SLOTS: Final = 12
BOUNDS_SECONDS: Final = tuple(0.0001 * 2 ** (step / 4) for step in range(68))
"""Upper ends of the histogram's buckets, 19 % apart, up to 11 s; one more bucket takes what is above."""


@dataclass(slots=True)
class Slot:
    """The durations of `SLOT_SECONDS`."""

    number: int
    max_seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))


class LastMinute:
    """Reading does not mutate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[Slot] = deque(maxlen=NUM_SLOTS)

    def add(self, seconds: float) -> None:
        """One duration, over now."""
        slot = self._slot()
        slot.max_seconds = max(slot.max_seconds, seconds)
        slot.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    @property
    def max_seconds(self) -> float | None:
        """`None` when there was none."""
        return max((slot.max_seconds for slot in self._recent()), default=None)

    def quantile(self, share: float) -> float | None:
        """What `share` of them, 0 … 1, stayed within: the upper end of a bucket, so up to 19 % too high, but never
        above `max_seconds`. `None` when there was none."""
        recent = self._recent()
        if not recent:
            return None
        counts = [sum(column) for column in zip(*(slot.counts for slot in recent), strict=True)]
        longest, wanted, seen = max(slot.max_seconds for slot in recent), share * sum(counts), 0
        for bound, count in zip(BOUNDS_SECONDS, counts, strict=False):
            seen += count
            if seen >= wanted:
                return min(longest, bound)
        return longest

    def check_integrity(self) -> None:
        numbers = [slot.number for slot in self._slots]
        if numbers != sorted(set(numbers)) or len(numbers) > NUM_SLOTS:
            raise AssertionError(f"slots {numbers} are not {NUM_SLOTS} in order")
        if not all(any(slot.counts) for slot in self._slots):
            raise AssertionError("a slot is kept that measured nothing")

    def _recent(self) -> list[Slot]:
        oldest = int(self._clock() // SLOT_SECONDS) - NUM_SLOTS
        return [slot for slot in self._slots if slot.number > oldest]

    def _slot(self) -> Slot:
        number = int(self._clock() // SLOT_SECONDS)
        if not self._slots or self._slots[-1].number < number:
            self._slots.append(Slot(number))
        return self._slots[-1]
