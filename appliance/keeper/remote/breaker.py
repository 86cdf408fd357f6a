"""Whether a store that failed is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

FAILURES: Final = 3
FIRST_SECONDS: Final = 2.0
MAX_SECONDS: Final = 60.0


class State(StrEnum):
    CLOSED = "closed"
    """It is asked."""
    OPEN = "open"
    """It is not asked."""
    HALF_OPEN = "half-open"
    """It is asked once, and what becomes of that decides."""


class Breaker:
    """Opens after `FAILURES` in a row, for a time that doubles with each trial that fails. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.opened = 0
        """How often it has."""
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_SECONDS
        self._open_until: float | None = None
        self._is_on_trial = False

    @property
    def state(self) -> State:
        if self._open_until is None:
            return State.CLOSED
        return State.OPEN if self._clock() < self._open_until else State.HALF_OPEN

    @property
    def would_admit(self) -> bool:
        return self.state is State.CLOSED or (self.state is State.HALF_OPEN and not self._is_on_trial)

    def admit(self) -> bool:
        """Whether a call may be made now; whoever makes it must tell how it ended."""
        if not self.would_admit:
            return False
        self._is_on_trial = self.state is State.HALF_OPEN
        return True

    def succeeded(self) -> None:
        self._failures, self._pause, self._open_until, self._is_on_trial = 0, FIRST_SECONDS, None, False

    def failed(self) -> None:
        self._failures += 1
        if self.state is State.OPEN or (self.state is State.CLOSED and self._failures < FAILURES):
            return
        if self._open_until is not None:
            self._pause = min(2 * self._pause, MAX_SECONDS)
        self._open_until = self._clock() + self._pause
        self._is_on_trial = False
        self.opened += 1
