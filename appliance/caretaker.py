"""Beside the requests: tells the engines once a second what sessions are worth, hears what they evicted, changes the
policy, and saves what the forecast has learned."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.box_events import BlocksEvicted, Dropped, Event
from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.errors import InvalidForecast
from appliance.cache.eviction_facts import Order
from appliance.cache.forecast import FINISHED
from appliance.cache.policy import Policy
from appliance.engine.retention.eviction import Eviction, EvictionBatch
from appliance.engine.retention.worth import Worth
from appliance.errors import WorkerDied
from appliance.eviction_log import Evicted, EvictionLog
from appliance.forecast_file import ForecastStore
from appliance.hint_book import OperatorHint, Served
from appliance.policy_change import worths_under
from appliance.retention import Retention
from appliance.router.scoring import Room
from appliance.session_forecast import batches

if TYPE_CHECKING:
    from appliance.engine.worker import Worker

INTERVAL_SECONDS: Final = 1.0
SAVE_SECONDS: Final = 60.0
MOST_KEEPS: Final = 512
"""Sessions told of in one call: an engine takes less than a millisecond for them."""
MOST_PLANS: Final = 32
MOST_EVICTIONS: Final = 1024
MOST_ROUNDS: Final = 8
"""Batches of evictions asked of one engine in a row; what is left then comes with the next second."""
MOST_OWNERS: Final = 8
"""Named in one event of evictions."""
MOST_POLICIES: Final = 8
"""Earlier policies whose rules are told apart when the policy changes."""
APPLY_SECONDS: Final = 10.0
"""How long a change of policy waits for the engines; one that takes longer is told as soon as it answers."""

OnEvictions = Callable[[int, Sequence[Evicted], float | None], None]
"""A worker, what it had to evict, and until when (in seconds since 1970) that is all; `None`: there is more."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    """What one engine, by its process, knows of sessions."""

    pid: int | None = None
    is_forecast: bool = False
    worths: dict[str, Worth] | None = None
    """A change of policy that it has yet to be told of."""
    keeps: dict[str, float] = field(default_factory=dict)
    to_plan: dict[str, None] = field(default_factory=dict)
    """Sessions to be planned anew, in order."""
    leads: LeadCounts | None = None
    """What it has told."""


class LeadCounts(NamedTuple):
    """What an engine says of sessions whose subagents run: how many it spares now, how many of their subagents'
    requests it has held back, and how many of these it let in before there was room."""

    spared: int
    held_back: int
    in_vain: int


class Caretaker:
    """Owns the active policy. `on_room` is told what is free in each worker's cache, `on_evictions` what had to go. An
    engine that does not answer is left alone until it does, or is started again."""

    def __init__(
        self,
        retention: Retention,
        workers: Sequence[Worker],
        evictions: EvictionLog,
        store: ForecastStore | None = None,
        *,
        on_room: Callable[[int, Room], None] = lambda _worker, _room: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.retention = retention
        self._workers = workers
        self._evictions = evictions
        self._store = store
        self._on_room = on_room
        self.on_evictions: OnEvictions = lambda _worker, _told, _up_to: None
        self.on_expired: Callable[[OperatorHint, Served], None] = lambda _hint, _served: None
        """Told of each hint whose time is over, and of the turns that it has seen."""
        self.emit: Callable[[Event], None] = lambda _event: None
        """Told of evictions."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._told = {worker.plan.id: _Told() for worker in workers}
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._policies: deque[Policy] = deque([retention.policy], maxlen=MOST_POLICIES)
        self._saved_gaps: int | None = None
        self._saved_at = clock()
        self._task: asyncio.Task[None] | None = None

    @property
    def policy(self) -> Policy:
        return self.retention.policy

    def leads(self, worker_id: int) -> LeadCounts | None:
        """As the worker's engine told last; `None` while it has told nothing, or is none of this caretaker's."""
        told = self._told.get(worker_id)
        return None if told is None else told.leads

    def start(self) -> None:
        """Begin, in the running loop; to be ended with `stop`."""
        self._task = asyncio.create_task(self._run(), name="caretaker")
        self._task.add_done_callback(_report_end)

    async def stop(self) -> None:
        """Saves what was learned. Idempotent; no-op when it was not started."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self.save()

    async def _run(self) -> None:
        await self._restore()
        while True:
            self.tick()
            if self._clock() - self._saved_at >= SAVE_SECONDS:
                await self.save()
            await self._sleep(INTERVAL_SECONDS)

    def tick(self) -> None:
        """Begin to attend to every engine that is up and has done with the last time."""
        keeps = self._keeps()
        for name in self.retention.over():
            for told in self._told.values():
                told.to_plan[name] = None
        for hint, served in self.retention.hints.expire():
            for told in self._told.values():
                told.to_plan[hint.session] = None
            self.on_expired(hint, served)
        for worker in self._workers:
            if worker.alive and worker.plan.id not in self._busy:
                self._start(worker, keeps)

    async def settled(self) -> None:
        """Wait, but not for ever, until what `tick` has begun is done."""
        if self._busy:
            await asyncio.wait(self._busy.values(), timeout=APPLY_SECONDS)

    async def replan(self, session: str) -> dict[int, int]:
        """Tell all engines at once what the session's blocks are worth now. By worker, on how many blocks of its last
        prompt; an engine that does not answer is told with the next second."""
        await self.settled()
        payload = self.retention.plan(session)
        if payload is None:
            return {}
        telling = {
            worker.plan.id: asyncio.create_task(worker.replan(session, payload))
            for worker in self._workers
            if worker.alive
        }
        if telling:
            await asyncio.wait(telling.values(), timeout=APPLY_SECONDS)
        told: dict[int, int] = {}
        for worker_id, task in telling.items():
            if task.done() and not task.cancelled() and task.exception() is None:
                told[worker_id] = task.result()
            else:
                task.cancel()
                self._told[worker_id].to_plan[session] = None
        return told

    async def apply(self, policy: Policy) -> None:
        """From now on plans are by this policy, and what is resident is worth what it says; nothing is dropped."""
        self.retention.policy = policy
        self._policies.append(policy)
        worths = worths_under(policy, self._policies, self.retention.keeps_thinking)
        sessions = dict.fromkeys(self.retention.sessions())
        await self.settled()
        for told in self._told.values():
            told.worths = worths
            told.to_plan |= sessions
        self.tick()
        await self.settled()

    async def save(self) -> None:
        """What the forecast has learned since the last time, if anything."""
        self._saved_at = self._clock()
        forecast = self.retention.forecast
        if self._store is None or forecast is None or forecast.observed_gaps == self._saved_gaps:
            return
        self._saved_gaps = forecast.observed_gaps
        try:
            await asyncio.to_thread(self._store.save, forecast.learned())
        except OSError as error:
            log.warning("the forecast could not be saved: %s", error)

    async def _restore(self) -> None:
        forecast = self.retention.forecast
        if self._store is None or forecast is None:
            return
        try:
            learned = await asyncio.to_thread(self._store.load)
            if learned is not None:
                forecast.restore(learned)
        except InvalidForecast as error:
            log.warning("%s; the forecast begins anew", error)
        self._saved_gaps = forecast.observed_gaps

    def _keeps(self) -> dict[str, float] | None:
        """What the forecast says of idle sessions now; `None` where it does not decide."""
        forecast = self.retention.forecast
        return None if forecast is None or self.policy.order is not Order.FORECAST else forecast.keeps()

    def _start(self, worker: Worker, keeps: dict[str, float] | None) -> None:
        worker_id = worker.plan.id
        task = asyncio.create_task(self._attend(worker, keeps), name=f"retention of worker {worker_id}")
        self._busy[worker_id] = task
        task.add_done_callback(lambda _: self._busy.pop(worker_id, None))
        task.add_done_callback(_report_end)

    async def _attend(self, worker: Worker, keeps: dict[str, float] | None) -> None:
        told = self._told[worker.plan.id]
        if told.pid not in (None, worker.pid):
            # Another process has none of the sessions' blocks, and none of what this one was told.
            told = self._told[worker.plan.id] = _Told()
        told.pid = worker.pid
        with suppress(WorkerDied):
            if told.worths is not None:
                worths, told.worths = told.worths, None
                await worker.apply_policy(worths)
            await self._tell_plans(worker, told)
            await self._tell_keeps(worker, told, keeps)
            await self._hear_evictions(worker)
            await self._ask_stats(worker, told)

    async def _tell_plans(self, worker: Worker, told: _Told) -> None:
        while told.to_plan:
            names = list(islice(told.to_plan, MOST_PLANS))
            for name in names:
                del told.to_plan[name]
            plans = {name: self.retention.plan(name) for name in names}
            await worker.replan_all({name: plan for name, plan in plans.items() if plan is not None})

    async def _tell_keeps(self, worker: Worker, told: _Told, keeps: dict[str, float] | None) -> None:
        """Only of sessions that are worth something else than they were told to be, and still idle."""
        forecast = self.retention.forecast
        if forecast is None or keeps is None:
            if told.is_forecast:
                told.is_forecast, told.keeps = False, {}
                await worker.clear_keeps()
            return
        keeps = {name: keep for name, keep in keeps.items() if forecast.is_idle(name)}
        changed = {name: keep for name, keep in keeps.items() if told.keeps.get(name) != keep}
        # Sessions that have a request are in neither; to those that were forgotten nothing is left.
        changed |= {name: FINISHED for name in told.keeps if name not in forecast}
        told.keeps, told.is_forecast = keeps, True
        for batch in batches(changed, MOST_KEEPS):
            await worker.set_keeps(batch, forecast.unnamed())

    async def _hear_evictions(self, worker: Worker) -> None:
        for _ in range(MOST_ROUNDS):
            asked_at = self._wall_clock()
            batch = await worker.evictions(MOST_EVICTIONS)
            first, dropped = self._evictions.counts.total(), self._evictions.num_dropped
            self._evictions.told(worker.plan.id, batch)
            now = self._wall_clock()
            told = [self._evicted(worker.plan.id, one, now) for one in batch.evictions]
            self._evictions.add_all(told)
            self.on_evictions(worker.plan.id, told, None if batch.num_left else asked_at)
            self._tell(worker.plan.id, batch, first, self._evictions.num_dropped - dropped)
            if not batch.num_left:
                return

    def _evicted(self, worker_id: int, eviction: Eviction, now: float) -> Evicted:
        return Evicted(now, worker_id, self.retention.region(eviction.owner, eviction.first_token), eviction)

    def _tell(self, worker_id: int, batch: EvictionBatch, first: int, dropped: int) -> None:
        if batch.evictions:
            owners = Counter(one.owner for one in batch.evictions if one.owner is not None)
            awaited = sum(one.awaited for one in batch.evictions)
            most = dict(owners.most_common(MOST_OWNERS))
            self.emit(BlocksEvicted(worker_id, len(batch.evictions), awaited, first, most))
        if dropped:
            self.emit(Dropped("evictions", dropped))

    async def _ask_stats(self, worker: Worker, told: _Told) -> None:
        stats = await worker.retention_stats()
        if stats is not None:
            self._on_room(worker.plan.id, room_of(stats))
            told.leads = LeadCounts(stats["leads_spared"], stats["held_back"], stats["held_back_in_vain"])


def room_of(stats: Mapping[str, Any]) -> Room:
    """From what an engine tells of its idle blocks. Those above the default priority count as claimed, and those that
    waiting requests want."""
    by_priority = {int(priority): blocks for priority, blocks in stats["by_priority"].items()}
    claimed = sum(blocks for priority, blocks in by_priority.items() if priority > DEFAULT_PRIORITY)
    return Room(stats["free"], sum(by_priority.values()) - claimed, claimed + stats["awaited"])


def _report_end(task: asyncio.Task[None]) -> None:
    """It ends by being stopped; any other end is logged, since nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)
