"""All workers of the box: started side by side, watched, started again when they die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from appliance.errors import BoxError, EngineStartError, NotReady, WorkerDied
from appliance.restarts import RestartBudget
from appliance.router.hashing import ROOT, Hashes
from appliance.router.index import Index
from appliance.router.mirror import WorkerMirror
from appliance.router.room import Capacity
from appliance.router.router import Router
from appliance.router.subscription import EventSubscription
from appliance.settings import WorkerSettings
from appliance.watchdog import End, Watchdog

if TYPE_CHECKING:
    from appliance.engine.worker import Worker

log = logging.getLogger("dynamo_box.fleet")


class WorkerPhase(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True)
class Member:
    """One worker with what follows it: its part of the index, its event stream, its restarts, its watchdog."""

    worker: Worker
    mirror: WorkerMirror
    budget: RestartBudget
    watchdog: Watchdog
    subscription: EventSubscription | None = None
    phase: WorkerPhase = WorkerPhase.STARTING
    last_error: str | None = None
    stream: asyncio.Task[None] | None = field(default=None, repr=False)
    watcher: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def id(self) -> int:
        return self.worker.plan.id


class Fleet:
    """Owns the workers. Only those that run are candidates of the router. `on_start` is called when one has loaded."""

    def __init__(
        self,
        workers: Sequence[Worker],
        index: Index,
        router: Router,
        settings: WorkerSettings,
        *,
        block_tokens: int,
        root: int = ROOT,
    ) -> None:
        self._settings = settings
        self.router = router
        self.on_start: Callable[[], None] = lambda: None
        self.on_phase: Callable[[Member], None] = lambda _member: None
        """Told of every worker that has entered another phase."""
        self._changed = asyncio.Event()
        self._awaited: set[tuple[int, str]] = set()
        """By worker and name, the requests whose blocks it was told to keep."""
        self._telling: set[asyncio.Task[None]] = set()
        self.members = {
            worker.plan.id: Member(
                worker,
                WorkerMirror(worker.plan.id, index, block_tokens, root=root),
                self._budget(),
                Watchdog(worker, settings.watchdog_interval, settings.watchdog_timeout),
            )
            for worker in workers
        }

    def last_own_hash(self, worker_id: int, engine_hash: int) -> int | None:
        """What the router calls a block that this engine has, or had until lately."""
        return self.members[worker_id].mirror.last_own_hash(engine_hash)

    def worker(self, worker_id: int) -> Worker:
        return self.members[worker_id].worker

    def ready(self) -> int:
        """How many workers can take requests."""
        return sum(member.phase is WorkerPhase.RUNNING and member.worker.alive for member in self.members.values())

    def dead(self) -> frozenset[int]:
        """Those whose engine has ended or was not started; known before the watcher has taken it from the router."""
        return frozenset(member.id for member in self.members.values() if not member.worker.alive)

    def ids(self) -> frozenset[int]:
        """All workers, dead or alive."""
        return frozenset(self.members)

    def capacity(self, worker_id: int) -> Capacity:
        worker = self.worker(worker_id)
        return Capacity(worker.seats, worker.step_tokens, worker.kv_blocks)

    def kv_usage(self, worker_id: int) -> float | None:
        worker = self.worker(worker_id)
        return worker.load.kv_usage if worker.alive else None

    def protect(self, worker_id: int, name: str, hashes: Hashes) -> None:
        """Tell the engine, beside everything else, that a request called `name` waits for these blocks."""
        member = self.members[worker_id]
        if names := member.mirror.engine_hashes(hashes):
            self._awaited.add((worker_id, name))
            self._tell(member.worker.wait_for(name, names))

    def release(self, worker_id: int, name: str) -> None:
        """The request waits no more. A no-op for one that waits for nothing there."""
        if (worker_id, name) in self._awaited:
            self._awaited.remove((worker_id, name))
            self._tell(self.worker(worker_id).stop_waiting(name))

    async def any_ready(self, timeout_seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self.ready() and self._may_come_back():
                    self._changed.clear()
                    await self._changed.wait()
        return self.ready() > 0

    async def start(self, abandon: Callable[[], None]) -> None:
        """Start all workers side by side.

        Raises `EngineStartError` when one does not come up, after ending the rest. `abandon` ends engine processes that
        are still loading: a start runs in a thread, which nothing else can cut short.
        """
        starts = [asyncio.create_task(self._start(member)) for member in self.members.values()]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            await asyncio.to_thread(abandon)
            await asyncio.gather(*starts, return_exceptions=True)
            await self.stop()
            raise
        for member in self.members.values():
            self._guard(member)

    def restart(self, worker_id: int, reason: str) -> None:
        """End its engine, or what is left of one, and start another, at once and beside what its restarts allow.

        Raises `NotReady` for one that is being started or stopped.
        """
        self.refuse_restart(worker_id)
        member = self.members[worker_id]
        if member.phase is WorkerPhase.RUNNING:
            member.watchdog.end(reason)
        else:
            member.last_error = reason
            self._set_phase(member, WorkerPhase.RESTARTING)
            self._guard(member, End(reason, is_asked=True))

    def refuse_restart(self, worker_id: int) -> None:
        """Raises `NotReady` for one that is being started or stopped."""
        phase = self.members[worker_id].phase
        if phase not in (WorkerPhase.RUNNING, WorkerPhase.FAILED):
            raise NotReady(f"worker {worker_id} is {phase.value}: it cannot be restarted now")

    async def stop(self) -> None:
        """End every worker and its event stream. Idempotent."""
        watchers = [member.watcher for member in self.members.values() if member.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*(self._stop(member) for member in self.members.values()))

    def _guard(self, member: Member, end: End | None = None) -> None:
        member.watcher = asyncio.create_task(self._watch(member, end), name=f"watcher of worker {member.id}")
        member.watcher.add_done_callback(_report_end)

    async def _start(self, member: Member) -> None:
        subscription = EventSubscription(member.id, member.worker.plan.events, member.worker.plan.replay, member.mirror)
        member.subscription = subscription
        subscription.start()
        member.stream = asyncio.create_task(subscription.run(), name=f"events of worker {member.id}")
        member.stream.add_done_callback(_report_end)
        await member.worker.start()
        self.on_start()
        self.router.add_worker(member.id)
        self._set_phase(member, WorkerPhase.RUNNING)

    async def _stop(self, member: Member) -> None:
        self.router.remove_worker(member.id)
        await member.worker.stop()
        if member.subscription is not None:
            await member.subscription.close()
            member.subscription = None
        member.mirror.reset(engine_is_empty=True)
        if member.phase is not WorkerPhase.FAILED:
            self._set_phase(member, WorkerPhase.STOPPED)

    async def _watch(self, member: Member, end: End | None = None) -> None:
        """Until the fleet stops or the worker's restarts are used up. With `end` it is started again first."""
        while True:
            end = end or await member.watchdog.death()
            log.warning("worker %d %s: %s", member.id, "is restarted" if end.is_asked else "died", end.reason)
            member.last_error = end.reason
            self._set_phase(member, WorkerPhase.RESTARTING)
            if end.is_asked:
                member.budget.beside()
            if not await self._restart(member, 0.0 if end.is_asked else member.budget.take()):
                return
            if end.is_asked and member.last_error == end.reason:
                member.last_error = None
            end = None

    async def _restart(self, member: Member, delay: float | None) -> bool:
        """Try until the worker runs again, first after `delay`; `False` when its restarts are used up."""
        while delay is not None:
            with suppress(BoxError):
                await self._stop_for_restart(member)
            await asyncio.sleep(delay)
            try:
                await self._start(member)
            except EngineStartError as error:
                log.warning("%s", error)
                member.last_error = str(error)
                delay = member.budget.take()
                continue
            log.warning("worker %d runs again", member.id)
            return True
        log.error("worker %d has used up its restarts and stays down", member.id)
        await self._stop_for_restart(member)
        self._set_phase(member, WorkerPhase.FAILED)
        return False

    async def _stop_for_restart(self, member: Member) -> None:
        await self._stop(member)
        self._set_phase(member, WorkerPhase.RESTARTING)

    def _tell(self, message: Coroutine[Any, Any, object]) -> None:
        """In the order of the calls. An engine that dies meanwhile needs no telling: it has lost its blocks."""

        async def told() -> None:
            with suppress(WorkerDied):
                await message

        task = asyncio.create_task(told())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _may_come_back(self) -> bool:
        hopeful = (WorkerPhase.STARTING, WorkerPhase.RUNNING, WorkerPhase.RESTARTING)
        return any(member.phase in hopeful for member in self.members.values())

    def _set_phase(self, member: Member, phase: WorkerPhase) -> None:
        is_new = member.phase is not phase
        member.phase = phase
        self._changed.set()
        if is_new:
            self.on_phase(member)

    def _budget(self) -> RestartBudget:
        workers = self._settings
        return RestartBudget(
            workers.restart_limit, workers.restart_window, workers.restart_backoff, workers.restart_backoff_max
        )


def _report_end(task: asyncio.Task[None]) -> None:
    """Streams end by being closed, watchers also by giving up; any other end leaves a worker alone, so it is logged."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)
