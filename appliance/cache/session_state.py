"""What a session is doing, from protocol facts: a request in flight, the last stop reason, the time since then."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from appliance.cache.errors import IntegrityError

FINISH_AFTER_SECONDS: Final = 3600.0
TOOL_STOPS: Final = frozenset({"tool_use", "tool_calls"})


class SessionState(StrEnum):
    RUNNING = "running"
    TOOL_WAIT = "tool_wait"
    IDLE = "idle"
    FINISHED = "finished"


class SessionRole(StrEnum):
    """A subagent is a session that another one started."""

    LEAD = "lead"
    SUBAGENT = "subagent"


class Session:
    """One session. Requests of it may overlap: it is `RUNNING` until the last of them has stopped."""

    def __init__(
        self,
        parent_id: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        finish_after_seconds: float = FINISH_AFTER_SECONDS,
    ) -> None:
        self.parent_id = parent_id
        self._clock = clock
        self._finish_after_seconds = finish_after_seconds
        self._requests = 0
        self._is_finished = False
        self._waits_for_tool = False
        self._silent_since = clock()

    def resume(self, silent_seconds: float, *, waits_for_tool: bool, is_finished: bool) -> None:
        """As it was left before a restart, with the time that it still has. A new session only."""
        self._silent_since = self._clock() - max(silent_seconds, 0.0)
        self._waits_for_tool = waits_for_tool
        self._is_finished = is_finished

    @property
    def role(self) -> SessionRole:
        return SessionRole.LEAD if self.parent_id is None else SessionRole.SUBAGENT

    @property
    def state(self) -> SessionState:
        if self._requests:
            return SessionState.RUNNING
        if self._is_finished or self._clock() - self._silent_since >= self._finish_after_seconds:
            return SessionState.FINISHED
        return SessionState.TOOL_WAIT if self._waits_for_tool else SessionState.IDLE

    @property
    def silent_seconds(self) -> float:
        """Since its last request ended; 0 while it runs."""
        return 0.0 if self._requests else self._clock() - self._silent_since

    @property
    def finishes_at(self) -> float | None:
        """The reading of the clock at which silence finishes it; `None` while it runs and when it is finished."""
        if self.state in (SessionState.RUNNING, SessionState.FINISHED):
            return None
        return self._silent_since + self._finish_after_seconds

    def start(self) -> None:
        """A request came. It opens a finished session again."""
        self._requests += 1
        self._is_finished = False

    def stop(self, reason: str | None) -> None:
        """A request ended, for the protocol's `reason`; `None`: without one, as when it was cut off."""
        if not self._requests:
            raise IntegrityError("a request stopped that had not started")
        self._requests -= 1
        self._waits_for_tool = reason in TOOL_STOPS
        self._silent_since = self._clock()

    def finish(self) -> None:
        """The client or an operator says that nothing more will come. Requests in flight still end as they would."""
        self._is_finished = True

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        if self._requests < 0 or self._silent_since > self._clock():
            raise IntegrityError(f"{self._requests} requests, silent since {self._silent_since}")
