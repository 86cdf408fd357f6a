"""Asks one worker's engine again and again whether it is alive, and ends one that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from appliance.engine.worker import Worker


class End(NamedTuple):
    """Why an engine is no more, or is to be no more because somebody asked for that."""

    reason: str
    is_asked: bool = False


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
        self._wish: str | None = None
        self._wished = asyncio.Event()

    @property
    def silent_seconds(self) -> float | None:
        """How long the engine has owed an answer, 0 while it owes none; `None` before it was ever asked."""
        if self._asked_at is not None:
            return self._clock() - self._asked_at
        return None if self.answer_seconds is None else 0.0

    def end(self, reason: str) -> None:
        """Somebody asked for it: `death` returns at once, also while the engine owes an answer."""
        self._wish = reason
        self._wished.set()

    async def death(self) -> End:
        """Wait until the worker has ended, hangs, or is to end; a hung one is killed."""
        self.answer_seconds = None
        ways = died, wished, hangs = (
            asyncio.ensure_future(self._worker.died()),
            asyncio.ensure_future(self._wished.wait()),
            asyncio.ensure_future(self._silence()),
        )
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if wished.done() and self._wish is not None:
                return End(self._wish, is_asked=True)
            if died.done():
                return End("its process ended")
            hangs.result()
            self._worker.kill()
            return End(f"it did not answer for {self.limit_seconds:g} s")
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._wish = None
            self._wished.clear()

    async def _silence(self) -> None:
        """Return when the engine owes an answer for too long. An engine that has ended owes none."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            if not await self._answers() and self._worker.alive:
                return

    async def _answers(self) -> bool:
        self._asked_at = asked_at = self._clock()
        try:
            is_answered = await self._worker.ping(self.limit_seconds)
        finally:
            self._asked_at = None
        if is_answered:
            self.answer_seconds = self._clock() - asked_at
        return is_answered
