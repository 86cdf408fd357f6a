"""Calls of a store, in threads of their own: limited in time and number, and none while the breaker is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from appliance.keeper.remote.breaker import Breaker
from appliance.keeper.remote.stores import Limits

MOST: Final = 4
"""Operations under way at a time; each may have a call in every thread."""


class Operations:
    """To be used in one loop. `failures` counts operations, those that took too long too; `busy` those not begun for
    want of room."""

    def __init__(self, name: str, limits: Limits, num_threads: int, breaker: Breaker, most: int = MOST) -> None:
        self.failures = self.busy = 0
        self.num_threads = num_threads
        self.breaker = breaker
        self._seconds = limits.timeout_seconds
        self._most = most
        self._pool = ThreadPoolExecutor(num_threads, name)
        self._under_way: set[asyncio.Future[list[Any]]] = set()
        self._judges: set[asyncio.Task[list[Any] | None]] = set()

    @property
    def may_begin(self) -> bool:
        return self.breaker.would_admit and len(self._under_way) < self._most

    async def run(self, calls: Sequence[Callable[[], Any]], patience: float | None = None) -> list[Any] | None:
        """What all these calls answer; `None` when one failed, the time limit or `patience` (seconds) was over, or
        nothing was begun. What is under way then goes on, and is judged all the same."""
        if len(self._under_way) >= self._most:
            self.busy += 1
            return None
        if not self.breaker.admit():
            return None
        judge = asyncio.create_task(self._judged(calls))
        self._judges.add(judge)
        judge.add_done_callback(self._judges.discard)
        done, _ = await asyncio.wait({judge}, timeout=None if patience is None else max(0.0, patience))
        return judge.result() if done else None

    def close(self) -> None:
        """No call that has not begun will."""
        for judge in self._judges:
            judge.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _judged(self, calls: Sequence[Callable[[], Any]]) -> list[Any] | None:
        loop = asyncio.get_running_loop()
        running = asyncio.gather(*(loop.run_in_executor(self._pool, call) for call in calls), return_exceptions=True)
        self._under_way.add(running)
        running.add_done_callback(self._under_way.discard)
        answers: list[Any] = [TimeoutError()]
        done, _ = await asyncio.wait({running}, timeout=self._seconds)
        if done:
            answers = running.result()
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if unforeseen := [error for error in failed if not isinstance(error, OSError)]:
            self.breaker.failed()
            raise unforeseen[0]
        if failed:
            self.failures += 1
            self.breaker.failed()
            return None
        self.breaker.succeeded()
        return answers
