"""Asks for one frame a tick, in a thread, and hands it to the screen; slower while nothing answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from appliance.tui.frame import Frame, Wanted
from appliance.tui.source import Source

INTERVALS_SECONDS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
DEFAULT_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 8.0


class Poller:
    """`show` is called in the loop with every frame. `wanted` is what the visible screen shows, asked anew each
    tick."""

    def __init__(self, source: Source, wanted: Callable[[], Wanted], show: Callable[[Frame], None]) -> None:
        self.interval_seconds = DEFAULT_SECONDS
        self._source = source
        self._wanted = wanted
        self._show = show
        self._failures = 0
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. One request is under way at a time, however slow it is: frames never queue."""
        executor = ThreadPoolExecutor(1, "console")
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._hurry.clear()
                frame = await loop.run_in_executor(executor, self._source.frame, self._wanted())
                self._failures = self._failures + 1 if frame.lost else 0
                self._show(frame)
                await self._pause()
        finally:
            self._source.close()
            executor.shutdown(wait=False, cancel_futures=True)

    def hurry(self) -> None:
        """Do not wait for the next tick: something else is wanted."""
        self._hurry.set()

    def slower(self) -> None:
        self.interval_seconds = next(
            (one for one in INTERVALS_SECONDS if one > self.interval_seconds), INTERVALS_SECONDS[-1]
        )

    def faster(self) -> None:
        self.interval_seconds = next(
            (one for one in reversed(INTERVALS_SECONDS) if one < self.interval_seconds), INTERVALS_SECONDS[0]
        )
        self.hurry()

    @property
    def pause_seconds(self) -> float:
        """Until the next frame; doubled with every failure in a row."""
        return self.interval_seconds if not self._failures else backoff(self.interval_seconds, self._failures)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self.pause_seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass


def backoff(interval_seconds: float, failures: int) -> float:
    """Never shorter than the interval."""
    return max(min(interval_seconds * 2.0 ** min(failures - 1, 10), LONGEST_SECONDS), interval_seconds)
