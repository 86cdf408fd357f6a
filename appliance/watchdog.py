"""Asks one worker's engine again and again whether it is alive, and ends one that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appliance.engine.worker import Worker


class Watchdog:
    """`interval_seconds` after an answer it asks again; `limit_seconds` without one are the end."""

    def __init__(
        self,
        worker: Worker,
        interval_seconds: float,
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_seconds = limit_seconds
        self.answer_seconds: float | None = None
        """How long the last answer took; `None` before the first."""
        self._worker = worker
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._asked_at: float | None = None

    @property
    def silent_seconds(self) -> float | None:
        """How long the engine has owed an answer, 0 while it owes none; `None` before it was ever asked."""
        if self._asked_at is not None:
            return self._clock() - self._asked_at
        return None if self.answer_seconds is None else 0.0

    async def death(self) -> str:
        """Wait until the worker has ended or hangs; a hung one is killed. Returns what happened."""
        self.answer_seconds = None
        died = asyncio.ensure_future(self._worker.died())
        try:
            while True:
                done, _ = await asyncio.wait({died}, timeout=self._interval_seconds)
                if done:
                    return "its process ended"
                if not await self._answers() and self._worker.alive:
                    self._worker.kill()
                    return f"it did not answer for {self.limit_seconds:g} s"
        finally:
            died.cancel()

    async def _answers(self) -> bool:
        self._asked_at = asked_at = self._clock()
        try:
            is_answered = await self._worker.ping(self.limit_seconds)
        finally:
            self._asked_at = None
        if is_answered:
            self.answer_seconds = self._clock() - asked_at
        return is_answered
