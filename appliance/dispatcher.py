"""Gives each request its place on a worker: at once where there is room, else when its turn has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from appliance.accounting import QueueAccount
from appliance.cache.queue_order import is_overdue
from appliance.errors import NotReady, RequestError
from appliance.router.decision import Decision
from appliance.router.errors import IntegrityError, NoWorker
from appliance.router.places import Errand, Place
from appliance.router.prefill_use import PrefillUse
from appliance.router.queue import Entry, Importance
from appliance.router.room import Lack
from appliance.router.rooms import Engines, Loads, Rooms
from appliance.waiting_room import QueueLimits, WaitingRoom

TICK_SECONDS: Final = 0.25
"""While somebody waits: how often is looked for room that no request told of, and for who has waited too long."""

Later = Callable[[float, Callable[[], None]], object]


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
        self.room = WaitingRoom(engines, limits, account, clock)
        self.queue = self.room.queue
        self.prefill_use = PrefillUse(clock)
        self._rooms = Rooms(loads, engines, self._on_change)
        self.places = self._rooms.places
        self._engines = engines
        self._limits = limits
        self._account = account
        self._clock = clock
        self._later: Later = later or _call_later
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
        decision = self._rooms.route(errand)
        self._rooms.clear(decision.worker)
        if self._may_go(errand, decision):
            self._account.taken(0.0)
            return self._seat(errand, decision)
        return await self._wait(errand, decision)

    def has_time(self, worker: int) -> bool:
        """Whether a worker reads nothing and nobody waits for it."""
        return not self.places.unread_blocks(worker) and not self.queue.is_waited_for(worker)

    def place_idle(self, errand: Errand) -> Place | None:
        """A place on the worker to which the errand is pinned, if that has time; `None`: not now. Raises `NoWorker`
        when that worker is not alive."""
        decision = self._rooms.route(errand)
        if decision.worker != errand.pin:
            raise NoWorker(f"worker {errand.pin} is not alive")
        may_go = self.has_time(decision.worker) and self._may_go(errand, decision)
        return self._seat(errand, decision) if may_go else None

    async def changed(self) -> None:
        """Return when a request next has its first token, ends, or something else may have made room."""
        self._change.clear()
        await self._change.wait()

    def refuse_when_full(self, importance: Importance) -> None:
        """Raises `TooManyRequests` when the queue is full of requests that are as important: so that this can be told
        before an answer has begun."""
        self.room.refuse_when_full(importance)

    def cancel(self, errand: Errand, error: RequestError) -> None:
        """It waits no longer, and is told why. A no-op for one that does not wait."""
        entry = self.room.find(errand)
        if entry is not None:
            self.room.fail(entry, error)
            self.wake()

    def close(self, reason: str) -> None:
        """Whoever waits, and whoever comes, is told `reason`. Those that have a place keep it."""
        self._refusal = reason
        self.room.close(reason)

    def wake(self) -> None:
        """Something may have changed: serve whoever has a turn."""
        self._observe()
        self._change.set()
        if not len(self.room):
            return
        self.room.expire()
        for lane in self.queue.lanes:
            self._serve(lane)
        self._balance()
        self._make_room()
        self._tick_later()

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        self.room.check_integrity()
        self.places.check_integrity()
        self.prefill_use.check_integrity()
        if len(self.room) and self._rooms.is_empty():
            raise IntegrityError(f"dispatcher: {len(self.room)} wait for workers that have nothing to do")

    def _may_go(self, errand: Errand, decision: Decision) -> bool:
        """Nobody waits for that worker, and it has room."""
        lack = self._rooms.lack(decision.worker, errand, decision, is_background=errand.is_background)
        return lack is None and not self.queue.is_waited_for(decision.worker)

    async def _wait(self, errand: Errand, decision: Decision) -> Place:
        waiter = self.room.enter(errand, decision, self._rooms.missing_tokens(decision))
        self.wake()
        future = waiter.future
        try:
            return await future
        except asyncio.CancelledError:
            # Its turn may have come in the same moment.
            if not future.cancelled() and future.done() and future.exception() is None:
                future.result().close()
            raise
        finally:
            if waiter.entry is not None:
                self.room.leave(waiter.entry)

    def _head(self, lane: int) -> Entry | None:
        return self.queue.head(lane, self.prefill_use.order, self._clock())

    def _serve(self, lane: int) -> None:
        """As many of a lane as there is room for. Whoever is sent elsewhere meanwhile waits there."""
        if lane in self._engines.dead():
            for orphan in self.queue.entries(lane):
                self._send(orphan)
            return
        while (entry := self._head(lane)) is not None:
            if self._lack(entry, lane) is not None or not self._send(entry):
                return

    def _send(self, entry: Entry) -> bool:
        """To the worker that is best now. False when that has no room and the entry waits where it did."""
        waiter = self.room.waiter(entry)
        try:
            decision = self._rooms.route(waiter.errand)
        except NoWorker as error:
            self.room.fail(entry, error)
            return True
        if self._lack(entry, decision.worker) is None:
            self._give(entry, decision)
        elif decision.worker == entry.lane:
            return False
        else:
            self.room.move(entry, decision, self._rooms.missing_tokens(decision))
        return True

    def _give(self, entry: Entry, decision: Decision) -> None:
        """Its place. Nothing happens to one that was cancelled: it leaves by itself, or has left."""
        waiter = self.room.waiter(entry)
        if waiter.future.done():
            self.room.leave(entry)
            return
        self.room.take(entry)
        self._account.taken(self._clock() - waiter.since_seconds)
        place = self._seat(waiter.errand, decision)
        place.awaited_on = entry.lane
        waiter.future.set_result(place)

    def _balance(self) -> None:
        """A worker with room and nobody waiting for it takes over from the others, one after the other."""
        for worker in sorted(self._engines.ids() - self._engines.dead()):
            while len(self.room) and not self.queue.is_waited_for(worker) and self._take_over(worker):
                pass

    def _take_over(self, worker: int) -> bool:
        """The first in turn of the longest lane, if this worker would be done with it before the lane is."""
        lane = max(self.queue.lanes, key=lambda lane: (self.queue.tokens(lane), -lane))
        entry = self._head(lane)
        if entry is None or self._lack(entry, worker) is not None:
            return False
        errand = self.room.waiter(entry).errand
        if errand.pin is not None or worker in errand.avoid:
            return False
        lack = self._lack(entry, lane)
        if lack is None:
            return self._send(entry)
        with suppress(NoWorker):
            decision = errand.choose(self._engines.ids() - {worker})
            ahead_tokens = self.queue.tokens(lane) + self._rooms.prefill_tokens(lane)
            if lack is not Lack.PREFILL or self._rooms.missing_tokens(decision) <= ahead_tokens:
                self._give(entry, decision)
                return True
        return False

    def _make_room(self) -> None:
        """Set a less important request aside in each lane whose first has waited long enough."""
        patience = self._limits.make_room_after_seconds
        if patience is None:
            return
        for lane in self.queue.lanes:
            entry = self._head(lane)
            if entry is None or self.room.waited_seconds(entry) < patience:
                continue
            lack = self._lack(entry, lane)
            victim = None if lack is None else self.places.victim(lane, entry.importance, lack)
            if victim is not None and victim.errand.set_aside is not None:
                self._account.set_aside += 1
                victim.errand.set_aside(lane)
                victim.close()

    def _lack(self, entry: Entry, worker: int) -> Lack | None:
        """What a worker lacks for somebody who waits. Who has lost patience is background work no longer."""
        waiter = self.room.waiter(entry)
        is_patient = not is_overdue(self.prefill_use.order, self.room.waited_seconds(entry))
        is_background = waiter.errand.is_background and is_patient
        return self._rooms.lack(worker, waiter.errand, waiter.decision, is_background=is_background)

    def _seat(self, errand: Errand, decision: Decision) -> Place:
        place = self._rooms.seat(errand, decision)
        self._observe()
        return place

    def _on_change(self, place: Place) -> None:
        """Its first token is there, or it ended: the engine holds its blocks, or they are awaited no more."""
        if place.awaited_on is not None:
            self._engines.release(place.awaited_on, place.errand.name)
            place.awaited_on = None
        self.wake()

    def _observe(self) -> None:
        self.prefill_use.observe(self._rooms.busy_share())

    def _tick_later(self) -> None:
        if len(self.room) and not self._ticks:
            self._ticks = True
            self._later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticks = False
        self.wake()


def _call_later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)
