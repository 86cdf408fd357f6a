from __future__ import annotations

import asyncio
from typing import cast

from appliance.engine.worker import Worker
from appliance.watchdog import Watchdog
from tests.unit.scripted_worker import ScriptedWorker, until


class SlowWorker(ScriptedWorker):
    """Answers the watchdog when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.num_pings = 0
        self.may_answer = asyncio.Event()

    async def ping(self, timeout_seconds: float) -> bool:
        self.num_pings += 1
        await self.may_answer.wait()
        return await super().ping(timeout_seconds)


async def test_how_long_an_engine_owes_an_answer_is_known_until_it_gives_one() -> None:
    worker, now = SlowWorker(), 50.0
    await worker.start()
    watchdog = Watchdog(cast("Worker", worker), 0.001, 60.0, lambda: now)
    assert (watchdog.silent_seconds, watchdog.answer_seconds) == (None, None)
    watching = asyncio.create_task(watchdog.death())
    await until(lambda: worker.num_pings == 1)
    now = 53.0
    assert (watchdog.silent_seconds, watchdog.answer_seconds) == (3.0, None)
    worker.may_answer.set()
    await until(lambda: watchdog.answer_seconds is not None)
    assert (watchdog.silent_seconds, watchdog.answer_seconds) == (0.0, 3.0)
    worker.end()
    assert await watching == "its process ended"


async def test_an_engine_that_owes_an_answer_for_too_long_is_killed() -> None:
    worker = ScriptedWorker()
    await worker.start()
    worker.hangs = True
    assert await Watchdog(cast("Worker", worker), 0.001, 7.0).death() == "it did not answer for 7 s"
    assert worker.num_kills == 1
