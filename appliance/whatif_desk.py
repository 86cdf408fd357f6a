"""Replays of the live record with other policies: one at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.access_log import AccessLog
from appliance.api.problems import NothingOfThisName
from appliance.api.whatif_views import (
    ContenderRole,
    WhatIfJob,
    WhatIfJobs,
    WhatIfMeasured,
    WhatIfOutcome,
    WhatIfSession,
    WhatIfState,
)
from appliance.cache.policy import Policy
from appliance.cache.policy_text import policy_text
from appliance.cache.routed_replay import Pace, RoutedOutcome
from appliance.errors import InvalidRequest, TooManyRequests
from appliance.policy_book import Predicted
from appliance.whatif_run import Broken, run_whatif
from appliance.whatif_wire import Measured, Question, Told

if TYPE_CHECKING:
    from appliance.fleet import Fleet
    from appliance.pipeline import Pipeline

MOST_REMEMBERED: Final = 32
MOST_WAITING: Final = 4
MOST_SECONDS: Final = 900.0
RETRY_SECONDS: Final = 30
ROLES: Final[tuple[ContenderRole, ...]] = ("proposed", "active", "lru", "optimum")

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Job:
    id: str
    policy: Policy
    active: Policy
    by: str
    asked_at: float
    last_seconds: float
    state: WhatIfState = "waiting"
    progress: float = 0.0
    began: float | None = None
    ended: float | None = None
    measured: Measured | None = None
    outcomes: list[RoutedOutcome] = field(default_factory=list)
    error: str | None = None
    task: asyncio.Task[None] | None = None


class WhatIfDesk:
    """`api.box.WhatIfDesk` over an access log. `capacities` tells the blocks of each worker that runs, `pace` what
    computing takes, `record_clock` the time of the record."""

    def __init__(
        self,
        record: AccessLog,
        capacities: Callable[[], Mapping[int, int]],
        pace: Callable[[], Pace],
        record_clock: Callable[[], float] = time.monotonic,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"whatif-{uuid.uuid4().hex[:12]}",
    ) -> None:
        self._record = record
        self._capacities = capacities
        self._pace = pace
        self._record_clock = record_clock
        self._clock = clock
        self._new_id = new_id
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._turn = asyncio.Lock()

    def start(self, policy: Policy, active: Policy, last_seconds: float, by: str) -> WhatIfJob:
        """Raises `InvalidRequest` where there is nothing to replay, `TooManyRequests` where many jobs wait."""
        if not len(self._record):
            raise InvalidRequest("no request has ended yet: there is nothing to replay", code="no_record")
        if sum(job.state == "waiting" for job in self._jobs.values()) >= MOST_WAITING:
            message = f"{MOST_WAITING} replays wait already, as many as may"
            raise TooManyRequests(message, retry_after_seconds=RETRY_SECONDS, code="too_many_jobs")
        job = _Job(self._new_id(), policy, active, by, self._clock(), last_seconds)
        self._jobs[job.id] = job
        self._forget_oldest()
        job.task = asyncio.create_task(self._run(job), name=job.id)
        return self._view(job)

    def newest(self) -> WhatIfJobs:
        return WhatIfJobs([self._view(job) for job in reversed(self._jobs.values())])

    def get(self, job_id: str) -> WhatIfJob:
        """Raises `NothingOfThisName`."""
        return self._view(self._find(job_id))

    async def cancel(self, job_id: str) -> WhatIfJob:
        """A no-op for one that has ended. Returns when its process is gone. Raises `NothingOfThisName`."""
        job = self._find(job_id)
        await _stopped(job)
        return self._view(job)

    async def close(self) -> None:
        """End all."""
        for job in self._jobs.values():
            await _stopped(job)

    def predicted(self, policy: Policy) -> Predicted | None:
        """What the newest replay of a policy that says the same has told."""
        for job in reversed(self._jobs.values()):
            if job.outcomes and job.measured is not None and _says_the_same(job.policy, policy):
                proposed, active = job.outcomes[0].hit_rate, job.outcomes[1].hit_rate
                if proposed is not None and active is not None:
                    return Predicted(proposed, active, job.measured.seconds)
        return None

    async def _run(self, job: _Job) -> None:
        try:
            async with self._turn:
                job.state, job.began = "running", self._clock()
                async with asyncio.timeout(MOST_SECONDS):
                    await run_whatif(self._question(job), self._record.snapshot(), lambda told: _hear(job, told))
            job.state = "failed" if job.error is not None else "done"
        except asyncio.CancelledError:
            job.state = "cancelled"
        except TimeoutError:
            job.state, job.error = "failed", f"it took longer than {MOST_SECONDS:g} s"
        except Broken as error:
            job.state, job.error = "failed", error.message
            log.warning("%s: %s", job.id, error.message)
        finally:
            job.ended = self._clock()

    def _question(self, job: _Job) -> Question:
        pace = self._pace()
        return Question(
            self._record.block_tokens,
            dict(self._capacities()),
            [(policy.name, policy_text(policy)) for policy in (job.policy, job.active)],
            pace.fixed_seconds,
            pace.seconds_per_token,
            self._record_clock() - job.last_seconds,
        )

    def _find(self, job_id: str) -> _Job:
        if job_id not in self._jobs:
            raise NothingOfThisName(f"no replay {job_id!r} is remembered", code="no_job")
        return self._jobs[job_id]

    def _forget_oldest(self) -> None:
        over = [job for job in self._jobs.values() if job.ended is not None]
        for job in over[: max(len(self._jobs) - MOST_REMEMBERED, 0)]:
            del self._jobs[job.id]

    def _view(self, job: _Job) -> WhatIfJob:
        end = self._clock() if job.ended is None else job.ended
        return WhatIfJob(
            job.id,
            job.state,
            job.policy.name,
            job.active.name,
            job.by,
            job.asked_at,
            job.last_seconds,
            job.progress,
            None if job.began is None else end - job.began,
            None if job.measured is None else _measured_view(job.measured),
            [*map(_outcome_view, ROLES, job.outcomes)] if job.outcomes else None,
            job.error,
        )


def whatif_of(pipeline: Pipeline, fleet: Fleet, record: AccessLog | None = None) -> WhatIfDesk:
    """For a box: requests that end from now on come to its record."""
    if record is None:
        record = AccessLog(pipeline.router.block_tokens)
    pipeline.on_ended.append(record.ended)

    def capacities() -> dict[int, int]:
        blocks = {member.id: member.worker.kv_blocks for member in fleet.members.values()}
        return {worker: count for worker, count in blocks.items() if count is not None}

    def pace() -> Pace:
        fixed, slope, _ = pipeline.router.paces.general()
        return Pace(fixed, slope)

    return WhatIfDesk(record, capacities, pace, pipeline.clock)


def _hear(job: _Job, told: Told) -> None:
    if told.of:
        job.progress = told.done / told.of
    if told.error is not None:
        job.error = told.error
    if told.outcomes is not None:
        job.progress, job.outcomes, job.measured = 1.0, told.outcomes, told.measured


async def _stopped(job: _Job) -> None:
    """One that waits for its turn has not begun to run: its task ends by itself too."""
    if job.task is not None and not job.task.done():
        job.task.cancel()
        await asyncio.wait([job.task])
        if job.ended is None:
            job.state, job.ended = "cancelled", job.asked_at


def _says_the_same(one: Policy, other: Policy) -> bool:
    """Wherever their rules stand, and whatever they are called."""
    return _plain(one) == _plain(other)


def _plain(policy: Policy) -> Policy:
    rules = tuple(replace(rule, file=Path(), line=0) for rule in policy.rules)
    return replace(policy, name="", description="", rules=rules)


def _measured_view(measured: Measured) -> WhatIfMeasured:
    return WhatIfMeasured(
        measured.requests,
        measured.warm_up_requests,
        measured.seconds,
        measured.prompt_tokens,
        measured.read_tokens,
        measured.read_tokens / measured.prompt_tokens if measured.prompt_tokens else None,
    )


def _outcome_view(role: ContenderRole, outcome: RoutedOutcome) -> WhatIfOutcome:
    return WhatIfOutcome(
        role,
        outcome.contender,
        outcome.requests,
        outcome.prompt_tokens,
        outcome.hit_tokens,
        outcome.hit_rate,
        outcome.prefill_seconds,
        outcome.evicted_blocks,
        outcome.evictions_by_region,
        [WhatIfSession(*session) for session in outcome.sessions],
        [*outcome.hit_rates],
    )
