from __future__ import annotations

import asyncio
from typing import Any

import pytest

from appliance.api.admission import Admission
from appliance.api.codec import Stamp
from appliance.api.problems import Overloaded
from appliance.api.responses_background import BackgroundRuns, EventLog, Run
from appliance.api.responses_keeping import Keeper
from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_store import ResponseStore
from appliance.errors import GenerationFailed, InvalidRequest
from appliance.generation import Delta
from tests.unit.api.responses_requests import CREATED, body_of, new_codec
from tests.unit.api.scripted import HELLO, STARTED, ScriptedInference, Step


async def followed(event_log: EventLog, position: int = 0) -> bytes:
    return b"".join([frames async for frames in event_log.follow(position)])


async def test_a_log_can_be_followed_from_any_event() -> None:
    event_log = EventLog()
    for number in range(4):
        event_log.append(number, b"%d" % number)
    late = asyncio.create_task(followed(event_log, 6))
    early = asyncio.create_task(followed(event_log, 2))
    await asyncio.sleep(0)
    event_log.append(4, b"4")
    event_log.close()
    assert (await early, await late) == (b"234", b"")
    assert await followed(event_log) == b"01234"
    event_log.check_integrity()


async def test_old_events_are_dropped_and_following_from_there_is_refused() -> None:
    event_log = EventLog(max_bytes=3)
    for number in range(5):
        event_log.append(number, b"x")
    event_log.close()
    event_log.check_integrity()
    assert event_log.dropped == 2
    assert await followed(event_log, 2) == b"xxx"
    with pytest.raises(InvalidRequest, match="number 2"):
        await followed(event_log, 1)


def test_events_are_logged_in_order() -> None:
    with pytest.raises(ValueError, match="event 1 after event -1"):
        EventLog().append(1, b"")


class Runs:
    """Background runs over a script, with everything that a test looks at."""

    def __init__(self, script: list[Step], max_requests: int = 4, **options: Any) -> None:
        self.inference = ScriptedInference(script)
        self.store: ResponseStore = MemoryStore()
        self.admission = Admission(max_requests)
        self.runs = BackgroundRuns(Keeper(self.store), self.admission, **options)

    async def start(self, number: int) -> Run:
        call = await new_codec(self.store).decode(body_of(background=True), {})
        prepared = await self.inference.prepare(call.conversation, f"resp_{number}")
        return await self.runs.start(call, Stamp(f"resp_{number}", CREATED), prepared, "req")

    async def finished(self, number: int) -> str:
        run = self.runs.find(f"resp_{number}")
        assert run is not None
        assert run.task is not None
        await asyncio.wait({run.task})
        await asyncio.sleep(0)
        self.runs.check_integrity()
        return run.reply.status


async def test_a_response_is_kept_at_every_stage() -> None:
    gate = asyncio.Event()
    made = Runs([gate, *HELLO])
    run = await made.start(1)
    assert run.reply.status == "queued"
    kept = await made.store.response("resp_1")
    assert kept is not None
    assert (kept.is_finished, kept.is_background) == (False, True)
    await made.inference.opened.wait()
    assert run.reply.status == "in_progress"
    gate.set()
    assert await made.finished(1) == "completed"
    kept = await made.store.response("resp_1")
    assert kept is not None
    assert kept.is_finished
    assert len(kept.output) == 1


async def test_responses_wait_for_a_place() -> None:
    gate = asyncio.Event()
    made = Runs([gate, *HELLO], max_requests=1)
    first, second = await made.start(1), await made.start(2)
    await made.inference.opened.wait()
    await asyncio.sleep(0)
    assert (first.reply.status, second.reply.status) == ("in_progress", "queued")
    gate.set()
    assert await made.finished(2) == "completed"
    made.admission.check_integrity()


@pytest.mark.parametrize("number", [1, 2])
async def test_running_and_waiting_responses_can_be_cancelled(number: int) -> None:
    made = Runs([STARTED, Delta(0, text="Hel"), asyncio.Event()], max_requests=1)
    await made.start(1)
    await made.start(2)
    await made.inference.opened.wait()
    await made.runs.cancel(f"resp_{number}")
    assert await made.finished(number) == "cancelled"
    kept = await made.store.response(f"resp_{number}")
    assert kept is not None
    assert kept.is_finished
    await made.runs.close()
    assert made.inference.num_open == made.admission.in_flight == 0
    await made.runs.cancel("resp_1")


async def test_a_failure_is_kept() -> None:
    made = Runs([STARTED, GenerationFailed("the engine gave up")])
    await made.start(1)
    assert await made.finished(1) == "failed"
    kept = await made.store.response("resp_1")
    assert kept is not None
    assert b"the engine gave up" in kept.body


async def test_unfinished_and_finished_runs_are_bounded() -> None:
    gate = asyncio.Event()
    made = Runs([gate, *HELLO], max_unfinished=2, max_finished=1)
    await made.start(1)
    await made.start(2)
    with pytest.raises(Overloaded):
        await made.start(3)
    gate.set()
    assert await made.finished(2) == "completed"
    assert made.runs.find("resp_1") is None
    assert made.runs.find("resp_2") is not None


async def test_nothing_is_left_running_after_its_life() -> None:
    made = Runs([STARTED, asyncio.Event()])
    async with made.runs.lifespan(None):
        await made.start(1)
        await made.inference.opened.wait()
    assert made.inference.num_open == 0
