"""Gives each request its place on a worker: at once where there is room, else when its turn has come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from appliance.accounting import QueueAccount
from appliance.cache.queue_order import is_overdue
from appliance.errors import NotReady, RequestError, TooManyRequests
from appliance.router.errors import IntegrityError, NoWorker
from appliance.router.hashing import Hashes
from appliance.router.places import Errand, Place, Places
from appliance.router.prefill_use import PrefillUse
from appliance.router.queue import Entry, Importance, WaitingQueue
from appliance.router.room import Capacity, Lack, Occupancy, find_lack
from appliance.router.router import Decision, WorkerStatus

TICK_SECONDS: Final = 0.25
"""While somebody waits: how often is looked for room that no request told of, and for who has waited too long."""
MAX_RETRY_SECONDS: Final = 60

Later = Callable[[float, Callable[[], None]], object]


class Engines(Protocol):
    """What the engines hold, and what they are told to keep. Nothing here waits."""

    def dead(self) -> frozenset[int]: ...

    def ids(self) -> frozenset[int]: ...

    def capacity(self, worker_id: int) -> Capacity: ...

    def kv_usage(self, worker_id: int) -> float | None:
        """Share of KV blocks that running requests held after the last step; `None`: not known."""
        ...

    def protect(self, worker_id: int, name: str, hashes: Hashes) -> None:
        """A request called `name` waits for these blocks: they go last of all until `release`."""
        ...

    def release(self, worker_id: int, name: str) -> None: ...


class Loads(Protocol):
    """The router's count of what it has admitted."""

    @property
    def block_tokens(self) -> int: ...

    def snapshot(self) -> tuple[WorkerStatus, ...]: ...


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`depth` requests may wait, each for `wait_seconds`. One that has waited `make_room_after_seconds` may have a less
    important one set aside; `None`: never."""

    depth: int
    wait_seconds: float
    make_room_after_seconds: float | None


DEFAULT_LIMITS: Final = QueueLimits(depth=256, wait_seconds=600.0, make_room_after_seconds=1.0)


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody who waits for `future`, where the last `decision` sent it."""

    errand: Errand
    decision: Decision
    future: asyncio.Future[Place]
    since_seconds: float
    entry: Entry | None = None


class Dispatcher:
    """Owns the queue and the places. Requests of one worker are served in the order of `WaitingQueue`; each is routed
    anew when its turn comes, and one whose worker is busy for longer than another would need goes to the other."""

    def __init__(
        self,
        loads: Loads,
        engines: Engines,
        limits: QueueLimits,
        account: QueueAccount,
        *,
        clock: Callable[[], float],
        later: Later | None = None,
    ) -> None:
        self.queue = WaitingQueue(limits.depth)
        self.places = Places()
        self.prefill_use = PrefillUse(clock)
        self._loads = loads
        self._engines = engines
        self._limits = limits
        self._account = account
        self._block_tokens = loads.block_tokens
        self._clock = clock
        self._later: Later = later or _call_later
        self._waiters: dict[Entry, _Waiter] = {}
        self._numbers = count()
        self._refusal: str | None = None
        self._ticks = False
        self._change = asyncio.Event()

    async def place(self, errand: Errand) -> Place:
        """A place for it; to be closed by the caller. Cancelled, it leaves the queue.

        Raises `NoWorker` when no worker lives, `TooManyRequests` when too many wait or it has waited too long, and
        `NotReady` after `close`.
        """
        if self._refusal is not None:
            raise NotReady(self._refusal)
        decision = self._route(errand)
        self._clear(decision.worker)
        if not self.queue.is_waited_for(decision.worker) and self._lack(decision.worker, errand, decision) is None:
            self._account.taken(0.0)
            return self._seat(errand, decision)
        return await self._wait(errand, decision)

    def place_idle(self, errand: Errand) -> Place | None:
        """A place on the worker to which the errand is pinned, if that has time; `None`: not now. Raises `NoWorker`
        when that worker is not alive."""
        decision = self._route(errand)
        if decision.worker != errand.pin:
            raise NoWorker(f"worker {errand.pin} is not alive")
        is_free = not self.queue.is_waited_for(decision.worker) and not self.places.unread_blocks(decision.worker)
        return (
            self._seat(errand, decision) if is_free and self._lack(decision.worker, errand, decision) is None else None
        )

    async def changed(self) -> None:
        """Return when a request next has its first token, ends, or something else may have made room."""
        self._change.clear()
        await self._change.wait()

    def refuse_when_full(self, importance: Importance) -> None:
        """Raises `TooManyRequests` when the queue is full of requests that are as important: so that this can be told
        before an answer has begun."""
        least = self.queue.least()
        if self.queue.is_full and (least is None or least.importance >= importance):
            raise self._refused("full", f"{len(self.queue)} requests wait here already, as many as may")

    def close(self, reason: str) -> None:
        """Whoever waits, and whoever comes, is told `reason`. Those that have a place keep it."""
        self._refusal = reason
        for entry in list(self._waiters):
            self._fail(entry, NotReady(reason))

    def oldest_wait_seconds(self) -> float | None:
        """Of those who may still be refused; `None` when there is none."""
        oldest = self.queue.oldest()
        return None if oldest is None else self._clock() - oldest.since_seconds

    def wake(self) -> None:
        """Something may have changed: serve whoever has a turn."""
        self._observe()
        self._change.set()
        if not self._waiters:
            return
        self._expire()
        for lane in self.queue.lanes:
            self._serve(lane)
        self._balance()
        self._make_room()
        self._tick_later()

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        self.queue.check_integrity()
        self.places.check_integrity()
        self.prefill_use.check_integrity()
        waiting = [entry for lane in self.queue.lanes for entry in self.queue.entries(lane)]
        if len(waiting) != len(self._waiters) or any(entry not in self._waiters for entry in waiting):
            raise IntegrityError(f"dispatcher: {len(waiting)} in the queue, {len(self._waiters)} wait")
        if waiting and not len(self.places) and not self._loads.snapshot():
            raise IntegrityError(f"dispatcher: {len(waiting)} wait for workers that have nothing to do")

    async def _wait(self, errand: Errand, decision: Decision) -> Place:
        if errand.may_be_refused and self.queue.is_full:
            self.refuse_when_full(errand.importance)
            self._displace()
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(errand, decision, future, self._clock())
        self._join(waiter, decision)
        self.wake()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.done() and future.exception() is None:
                future.result().close()
            raise
        finally:
            if waiter.entry is not None:
                self._leave(waiter.entry)

    def _join(self, waiter: _Waiter, decision: Decision) -> None:
        errand = waiter.errand
        entry = Entry(
            number=next(self._numbers),
            lane=decision.worker,
            tier=errand.tier,
            priority=errand.priority,
            since_seconds=waiter.since_seconds,
            missing_tokens=decision.uncached_blocks * self._block_tokens,
            is_in_turn=errand.is_in_turn,
            may_be_refused=errand.may_be_refused,
        )
        waiter.entry, waiter.decision = entry, decision
        self.queue.add(entry)
        self._waiters[entry] = waiter
        self._engines.protect(entry.lane, errand.name, decision.hashes[: decision.overlap_blocks])

    def _take(self, entry: Entry) -> _Waiter:
        """Out of the queue; its blocks are still protected."""
        self.queue.discard(entry)
        waiter = self._waiters.pop(entry)
        waiter.entry = None
        return waiter

    def _leave(self, entry: Entry) -> _Waiter:
        waiter = self._take(entry)
        self._engines.release(entry.lane, waiter.errand.name)
        return waiter

    def _fail(self, entry: Entry, error: RequestError | NoWorker) -> None:
        future = self._leave(entry).future
        if not future.done():
            future.set_exception(error)

    def _refused(self, reason: str, message: str) -> TooManyRequests:
        self._account.refused[reason] += 1
        seconds = min(MAX_RETRY_SECONDS, max(1, math.ceil(self._account.last_waited_seconds)))
        return TooManyRequests(message, retry_after_seconds=seconds, code=f"queue_{reason}")

    def _displace(self) -> None:
        """The least important of the queue gives way."""
        if (least := self.queue.least()) is not None:
            self._fail(least, self._refused("displaced", "a more important request has taken this one's place"))

    def _expire(self) -> None:
        limit = self._limits.wait_seconds
        while (oldest := self.queue.oldest()) is not None and self._clock() - oldest.since_seconds >= limit:
            self._fail(oldest, self._refused("timeout", f"no worker had room for this request within {limit:g} s"))

    def _serve(self, lane: int) -> None:
        """As many of a lane as there is room for. Whoever is sent elsewhere meanwhile waits there."""
        if lane in self._engines.dead():
            self._rehome(lane)
            return
        while (entry := self.queue.head(lane, self.prefill_use.order, self._clock())) is not None:
            if self._lack_for(entry, lane) is not None or not self._send(entry):
                return

    def _send(self, entry: Entry) -> bool:
        """To the worker that is best now. False when that has no room and the entry waits where it did."""
        waiter = self._waiters[entry]
        try:
            decision = self._route(waiter.errand)
        except NoWorker as error:
            self._fail(entry, error)
            return True
        if self._lack(decision.worker, waiter.errand, decision, waiter.since_seconds) is None:
            self._give(entry, decision)
            return True
        if decision.worker == entry.lane:
            return False
        self._join(self._leave(entry), decision)
        return True

    def _rehome(self, lane: int) -> None:
        """The worker is gone."""
        for entry in self.queue.entries(lane):
            self._send(entry)

    def _give(self, entry: Entry, decision: Decision) -> None:
        waiter = self._take(entry)
        if waiter.future.done():
            self._engines.release(entry.lane, waiter.errand.name)
            return
        self._account.taken(self._clock() - waiter.since_seconds)
        place = self._seat(waiter.errand, decision)
        place.awaited_on = entry.lane
        waiter.future.set_result(place)

    def _balance(self) -> None:
        """A worker with room and nobody waiting for it takes over from the others, one after the other."""
        for worker in sorted(self._engines.ids() - self._engines.dead()):
            while self.queue and not self.queue.is_waited_for(worker) and self._take_over(worker):
                pass

    def _take_over(self, worker: int) -> bool:
        """The first in turn of the longest lane, if this worker would be done with it before the lane is."""
        lane = max(self.queue.lanes, key=lambda lane: (self.queue.tokens(lane), -lane))
        entry = self.queue.head(lane, self.prefill_use.order, self._clock())
        if entry is None or self._lack_for(entry, worker) is not None:
            return False
        errand = self._waiters[entry].errand
        if errand.pin is not None or worker in errand.avoid:
            return False
        with suppress(NoWorker):
            decision = errand.choose(self._engines.ids() - {worker})
            missing_tokens = decision.uncached_blocks * self._block_tokens
            if self._lack_for(entry, lane) is not Lack.PREFILL or missing_tokens <= self._ahead_tokens(lane):
                self._give(entry, decision)
                return True
        return False

    def _ahead_tokens(self, lane: int) -> int:
        """What a worker has to compute, with all who wait for it."""
        status = self._status(lane)
        return self.queue.tokens(lane) + (status.prefill_blocks * self._block_tokens if status is not None else 0)

    def _make_room(self) -> None:
        """Set one less important request aside in each lane whose first has waited long enough."""
        patience = self._limits.make_room_after_seconds
        if patience is None:
            return
        for lane in self.queue.lanes:
            entry = self.queue.head(lane, self.prefill_use.order, self._clock())
            if entry is None or self._clock() - entry.since_seconds < patience:
                continue
            lack = self._lack_for(entry, lane)
            victim = None if lack is None else self.places.victim(lane, entry.importance, lack)
            if victim is not None and victim.errand.set_aside is not None:
                self._account.set_aside += 1
                victim.errand.set_aside(victim.worker)
                victim.close()

    def _clear(self, worker: int) -> None:
        """Real work comes: whoever is there only because there was time ends."""
        for place in self.places.guests(worker):
            if place.errand.give_way is not None:
                place.errand.give_way()
                place.close()

    def _seat(self, errand: Errand, decision: Decision) -> Place:
        if errand.give_way is None:
            self._clear(decision.worker)
        place = Place(
            errand,
            decision,
            errand.admit(decision),
            self._needs_blocks(errand, decision),
            self._answer_blocks(errand),
            next(self._numbers),
            self._on_started,
            self._on_closed,
        )
        self.places.add(place)
        self._observe()
        return place

    def _on_started(self, place: Place) -> None:
        self.places.read(place)
        self._release(place)
        self.wake()

    def _on_closed(self, place: Place) -> None:
        self.places.remove(place)
        self._release(place)
        self.wake()

    def _release(self, place: Place) -> None:
        """The engine holds its blocks now, or they are awaited no more."""
        if place.awaited_on is not None:
            self._engines.release(place.awaited_on, place.errand.name)
            place.awaited_on = None

    def _route(self, errand: Errand) -> Decision:
        """By the errand's pin, else to a live worker, one of `avoid` only when there is no other. Raises `NoWorker`."""
        for exclude in self._exclusions(errand):
            with suppress(NoWorker):
                return errand.choose(exclude)
        raise NoWorker("no worker is alive", hint="wait until a worker is up")

    def _exclusions(self, errand: Errand) -> Iterator[frozenset[int]]:
        dead = self._engines.dead()
        if errand.pin is not None and errand.pin not in dead | errand.avoid:
            yield self._engines.ids() - {errand.pin}
        yield dead | errand.avoid
        yield dead

    def _lack_for(self, entry: Entry, worker: int) -> Lack | None:
        """As `_lack`, by what was known of the entry when it began to wait."""
        waiter = self._waiters[entry]
        return self._lack(worker, waiter.errand, waiter.decision, waiter.since_seconds)

    def _lack(self, worker: int, errand: Errand, decision: Decision, since_seconds: float | None = None) -> Lack | None:
        status = self._status(worker)
        if status is None:
            return None
        waited_seconds = 0.0 if since_seconds is None else self._clock() - since_seconds
        return find_lack(
            Occupancy(
                status,
                self._engines.kv_usage(worker),
                self.places.unread_blocks(worker),
                self.places.answer_blocks(worker),
            ),
            self._engines.capacity(worker),
            block_tokens=self._block_tokens,
            needs_blocks=self._needs_blocks(errand, decision),
            is_background=errand.is_background and not is_overdue(self.prefill_use.order, waited_seconds),
        )

    def _status(self, worker: int) -> WorkerStatus | None:
        return next((status for status in self._loads.snapshot() if status.worker == worker), None)

    def _needs_blocks(self, errand: Errand, decision: Decision) -> int:
        return decision.prompt_blocks + self._answer_blocks(errand)

    def _answer_blocks(self, errand: Errand) -> int:
        return -(-errand.answer_tokens // self._block_tokens)

    def _observe(self) -> None:
        accepting = [status for status in self._loads.snapshot() if status.accepting]
        busy = sum(status.prefill_blocks > 0 for status in accepting)
        self.prefill_use.observe(busy / len(accepting) if accepting else 0.0)

    def _tick_later(self) -> None:
        if self._waiters and not self._ticks:
            self._ticks = True
            self._later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticks = False
        self.wake()


def _call_later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)
