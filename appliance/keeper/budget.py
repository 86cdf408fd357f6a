"""How much may be written to a tier in a day: flash wears out by writing, and networks are paid for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

DAY_SECONDS: Final = 86_400


class WriteBudget:
    """Bytes a day, in days of universal time. `limit` 0 is no limit; `wall` gives the time of day in seconds. `refused`
    counts blocks."""

    def __init__(self, limit: int, wall: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self.refused = 0
        self._wall = wall
        self._day = self._today()
        self._spent = 0

    @property
    def day_began_ms(self) -> int:
        return self._today() * DAY_SECONDS * 1000

    @property
    def spent(self) -> int:
        """Bytes of today."""
        self._turn()
        return self._spent

    def spend(self, num_bytes: int) -> None:
        """What was written all the same, such as before a restart."""
        self._turn()
        self._spent += num_bytes

    def take(self, count: int, num_bytes: int) -> int:
        """How many of `count` rows of this size may be written; these are spent."""
        self._turn()
        allowed = count if not self.limit else min(count, max(0, self.limit - self._spent) // num_bytes)
        self._spent += allowed * num_bytes
        self.refused += count - allowed
        return allowed

    def _turn(self) -> None:
        if self._day != self._today():
            self._day, self._spent = self._today(), 0

    def _today(self) -> int:
        return int(self._wall() // DAY_SECONDS)
