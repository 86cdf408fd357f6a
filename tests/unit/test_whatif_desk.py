from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from appliance import whatif_run
from appliance.access_log import AccessLog, Served
from appliance.api.problems import NothingOfThisName
from appliance.api.whatif_views import WhatIfJob
from appliance.cache.policy_source import load_policy, read_policy
from appliance.cache.policy_text import editable_text
from appliance.cache.routed_replay import Pace
from appliance.errors import InvalidRequest, TooManyRequests
from appliance.whatif_desk import MOST_REMEMBERED, MOST_WAITING, WhatIfDesk
from appliance.whatif_process import answer, begin
from appliance.whatif_wire import Question, Told
from tests.clock import Clock
from tests.unit.cache.small_traces import access

CODING, CHAT = load_policy("coding-agent"), load_policy("chat")


def record_of(turns: int) -> AccessLog:
    """Two sessions that take turns on two workers."""
    log = AccessLog(4)
    for turn in range(turns):
        session = turn % 2
        keys = list(range(session * 100, session * 100 + 3 + turn // 2))
        log.add(Served(session, 4 * turn, access(f"s{session}", turn * 5.0, keys)))
    return log


@asynccontextmanager
async def desk_over(turns: int = 12) -> AsyncIterator[WhatIfDesk]:
    numbers = iter(range(1000))
    desk = WhatIfDesk(
        record_of(turns),
        lambda: {0: 30, 1: 30},
        lambda: Pace(0.1, 0.01),
        Clock(60.0),
        clock=Clock(5.0),
        new_id=lambda: f"w{next(numbers)}",
    )
    try:
        yield desk
    finally:
        await desk.close()


async def ended(desk: WhatIfDesk, job: WhatIfJob) -> WhatIfJob:
    async with asyncio.timeout(60):
        while (found := desk.get(job.id)).state in ("waiting", "running"):
            await asyncio.sleep(0.01)
    return found


async def test_a_replay_in_a_process_of_its_own_tells_what_each_policy_would_have_read() -> None:
    async with desk_over() as desk:
        job = desk.start(CHAT, CODING, last_seconds=30.0, by="me")
        assert (job.state, job.progress, job.outcomes, job.by) == ("waiting", 0.0, None, "me")
        job = await ended(desk, job)
        assert (job.state, job.progress, job.error) == ("done", 1.0, None)
        assert job.measured is not None
        assert (job.measured.requests, job.measured.warm_up_requests) == (6, 6)
        assert job.outcomes is not None
        assert [(one.role, one.name) for one in job.outcomes] == [
            ("proposed", "chat"),
            ("active", "coding-agent"),
            ("lru", "lru"),
            ("optimum", "optimum"),
        ]
        assert all(one.hit_rate and one.requests == 6 for one in job.outcomes)
        assert all(sum(rate is not None for rate in one.hit_rates) == 6 for one in job.outcomes)
        predicted = desk.predicted(read_policy(editable_text(CHAT), "the same"))
        assert predicted is not None
        assert predicted.hit_rate == job.outcomes[0].hit_rate
        assert desk.predicted(CODING) is None


async def test_one_runs_at_a_time_and_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.whatif_desk.run_whatif", _never)
    async with desk_over() as desk:
        first = desk.start(CHAT, CODING, 30.0, "me")
        await asyncio.sleep(0)
        waiting = [desk.start(CHAT, CODING, 30.0, "me") for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        assert desk.get(first.id).state == "running"
        assert {desk.get(job.id).state for job in waiting} == {"waiting"}
        with pytest.raises(TooManyRequests, match="wait already"):
            desk.start(CHAT, CODING, 30.0, "me")
        assert (await desk.cancel(waiting[0].id)).state == "cancelled"
        assert (await desk.cancel(first.id)).state == "cancelled"
        assert (await desk.cancel(first.id)).state == "cancelled"
        assert [job.id for job in desk.newest().jobs] == ["w4", "w3", "w2", "w1", "w0"]


async def _never(*_arguments: object) -> None:
    await asyncio.Event().wait()


async def test_a_cancelled_replay_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    create = asyncio.create_subprocess_exec

    async def noted(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
        started.append(await create(*arguments, **options))
        return started[-1]

    monkeypatch.setattr("asyncio.create_subprocess_exec", noted)
    async with desk_over() as desk:
        job = desk.start(CHAT, CODING, 30.0, "me")
        while not started:
            await asyncio.sleep(0)
        assert (await desk.cancel(job.id)).state == "cancelled"
    assert started[0].returncode is not None


async def test_a_process_that_breaks_off_fails_its_job_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whatif_run, "MODULE", "appliance.cache.errors")
    async with desk_over() as desk:
        job = await ended(desk, desk.start(CHAT, CODING, 30.0, "me"))
    assert (job.state, job.error) == ("failed", "the replay ended with status 0 before it had answered")


async def test_old_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_question: object, _record: object, hear: object) -> None: ...

    monkeypatch.setattr("appliance.whatif_desk.run_whatif", at_once)
    async with desk_over() as desk:
        for _ in range(MOST_REMEMBERED + 3):
            await ended(desk, desk.start(CHAT, CODING, 30.0, "me"))
        assert len(desk.newest().jobs) <= MOST_REMEMBERED
        with pytest.raises(NothingOfThisName, match="no replay 'w0' is remembered"):
            desk.get("w0")


async def test_without_a_record_there_is_nothing_to_replay() -> None:
    async with desk_over(turns=0) as desk:
        with pytest.raises(InvalidRequest, match="no request has ended yet"):
            desk.start(CHAT, CODING, 30.0, "me")


def question(measured_from: float) -> Question:
    return Question(4, {0: 30, 1: 30}, [], 0.1, 0.01, measured_from)


def test_where_little_came_before_a_quarter_fills_the_caches() -> None:
    rows = [Served(0, 0, access("a", float(number), [1])) for number in range(8)]
    assert begin(question(5.0), rows) == 5.0
    assert begin(question(0.0), rows) == 2.0
    assert begin(question(1.0), []) == 1.0


def test_progress_is_told_before_the_answer() -> None:
    told: list[Told] = []
    rows = [Served(0, 0, access("a", float(number), [1])) for number in range(8)]
    answer(question(5.0), rows, told.append)
    assert told[-1].outcomes is not None
    assert told[-1].measured is not None
    assert (told[0].of, told[0].done > 0) == (16, True)
