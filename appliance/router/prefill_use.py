"""How much of the engines' time goes into prompts, which decides in which order those that wait are served."""

from __future__ import annotations

import math
from collections.abc import Callable

from appliance.cache.queue_order import QueueOrder
from appliance.router.errors import IntegrityError

MEMORY_SECONDS = 60.0
LEAST_MISSING_BELOW = 0.6
IN_TURN_ABOVE = 0.9
"""In replayed sessions of coding agents, least-missing-first is better below the one and in-turn-first above the other;
between them neither is, and the order stays as it is."""


class PrefillUse:
    """The share of workers that compute prompts, averaged over about the last minute: the prediction for the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_seconds = clock()
        self._busy_share = 0.0
        self._average = 0.0
        self._order = QueueOrder.LEAST_MISSING

    def observe(self, busy_share: float) -> None:
        """From now on this share of the workers, 0 … 1, has a prompt to compute."""
        self._average = self.share
        self._at_seconds = self._clock()
        self._busy_share = busy_share

    @property
    def share(self) -> float:
        """Of the last minute, 0 … 1; older times count less and less."""
        kept = math.exp(-max(0.0, self._clock() - self._at_seconds) / MEMORY_SECONDS)
        return self._average * kept + self._busy_share * (1 - kept)

    @property
    def order(self) -> QueueOrder:
        """Least missing first, until prompts take nearly all the time; then sessions amid their turn first."""
        share = self.share
        if share > IN_TURN_ABOVE:
            self._order = QueueOrder.IN_TURN
        elif share < LEAST_MISSING_BELOW:
            self._order = QueueOrder.LEAST_MISSING
        return self._order

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        if not (0 <= self._average <= 1 and 0 <= self._busy_share <= 1):
            raise IntegrityError(f"prefill use: {self._busy_share} of the workers now, {self._average} on average")
