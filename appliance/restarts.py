"""How often, and how soon, a dead worker may be started again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class RestartBudget:
    """At most `limit` restarts within `window_seconds`, each after twice the last delay, up to `backoff_max_seconds`.

    The delay falls back to `backoff_seconds` once a window has passed without a restart.
    """

    def __init__(
        self,
        limit: int,
        window_seconds: float,
        backoff_seconds: float,
        backoff_max_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._backoff_seconds = backoff_seconds
        self._backoff_max_seconds = backoff_max_seconds
        self._clock = clock
        self._delay_seconds = backoff_seconds
        self._restarts: deque[float] = deque(maxlen=max(limit, 1))
        self.total = 0

    def beside(self) -> None:
        """A restart that somebody asked for: it is in `total` and in nothing else."""
        self.total += 1

    def take(self) -> float | None:
        """Seconds to wait before the next restart, which is counted; `None` when the budget is spent."""
        now = self._clock()
        while self._restarts and self._restarts[0] <= now - self._window_seconds:
            self._restarts.popleft()
        if len(self._restarts) >= self._limit:
            return None
        wanted_seconds = 2 * self._delay_seconds if self._restarts else self._backoff_seconds
        self._delay_seconds = min(wanted_seconds, self._backoff_max_seconds)
        self._restarts.append(now)
        self.total += 1
        return self._delay_seconds
