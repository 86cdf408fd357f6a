"""Who waits for a place on a worker: their turn, their futures, what the cache keeps for them, and who is refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from appliance.accounting import QueueAccount
from appliance.errors import NotReady, RequestError, TooManyRequests
from appliance.router.decision import Decision
from appliance.router.errors import IntegrityError, NoWorker
from appliance.router.places import Errand, Place
from appliance.router.queue import Entry, Importance, WaitingQueue
from appliance.router.rooms import Engines

MAX_RETRY_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`depth` requests may wait, each for `wait_seconds`. One that has waited `make_room_after_seconds` may have a less
    important one set aside; `None`: never."""

    depth: int
    wait_seconds: float
    make_room_after_seconds: float | None


DEFAULT_LIMITS: Final = QueueLimits(depth=256, wait_seconds=600.0, make_room_after_seconds=1.0)


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who waits for `future`, where the last `decision` sent it. `entry` is `None` once it waits no more."""

    errand: Errand
    decision: Decision
    future: asyncio.Future[Place]
    since_seconds: float
    entry: Entry | None = None


class WaitingRoom:
    """The queue with those who stand in it."""

    def __init__(
        self, engines: Engines, limits: QueueLimits, account: QueueAccount, clock: Callable[[], float]
    ) -> None:
        self.queue = WaitingQueue(limits.depth)
        self._engines = engines
        self._limits = limits
        self._account = account
        self._clock = clock
        self._waiters: dict[Entry, Waiter] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waiters)

    def waiter(self, entry: Entry) -> Waiter:
        return self._waiters[entry]

    def waited_seconds(self, entry: Entry) -> float:
        return self._clock() - entry.since_seconds

    def oldest_seconds(self) -> float | None:
        """How long whoever waits longest of those that may be refused has waited; `None` when nobody does."""
        oldest = self.queue.oldest()
        return None if oldest is None else self.waited_seconds(oldest)

    def enter(self, errand: Errand, decision: Decision, missing_tokens: int) -> Waiter:
        """In a full queue the least important gives way. Raises `TooManyRequests` when all are as important as this."""
        if errand.may_be_refused and self.queue.is_full:
            self.refuse_when_full(errand.importance)
            self._displace()
        waiter = Waiter(errand, decision, asyncio.get_running_loop().create_future(), self._clock())
        self._join(waiter, missing_tokens)
        return waiter

    def move(self, entry: Entry, decision: Decision, missing_tokens: int) -> None:
        """It waits for another worker from now on, as long as it has waited already."""
        waiter = self.leave(entry)
        waiter.decision = decision
        self._join(waiter, missing_tokens)

    def take(self, entry: Entry) -> Waiter:
        """It has waited; its blocks are still kept."""
        self.queue.discard(entry)
        waiter = self._waiters.pop(entry)
        waiter.entry = None
        return waiter

    def leave(self, entry: Entry) -> Waiter:
        """It waits no more, and nothing is kept for it."""
        waiter = self.take(entry)
        self._engines.release(entry.lane, waiter.errand.name)
        return waiter

    def fail(self, entry: Entry, error: RequestError | NoWorker) -> None:
        future = self.leave(entry).future
        if not future.done():
            future.set_exception(error)

    def find(self, errand: Errand) -> Entry | None:
        """Where it stands; `None` for one that does not wait."""
        return next((entry for entry, waiter in self._waiters.items() if waiter.errand is errand), None)

    def refuse_when_full(self, importance: Importance) -> None:
        """Raises `TooManyRequests` when the queue is full of requests that are as important."""
        least = self.queue.least()
        if self.queue.is_full and (least is None or least.importance >= importance):
            raise self._refused("full", f"{len(self.queue)} requests wait here already, as many as may")

    def expire(self) -> None:
        """Whoever has waited too long is told so."""
        limit = self._limits.wait_seconds
        while (oldest := self.queue.oldest()) is not None and self.waited_seconds(oldest) >= limit:
            self.fail(oldest, self._refused("timeout", f"no worker had room for this request within {limit:g} s"))

    def close(self, reason: str) -> None:
        """Everybody is told that the box is not ready."""
        for entry in list(self._waiters):
            self.fail(entry, NotReady(reason))

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        self.queue.check_integrity()
        waiting = [entry for lane in self.queue.lanes for entry in self.queue.entries(lane)]
        if len(waiting) != len(self._waiters) or any(entry not in self._waiters for entry in waiting):
            raise IntegrityError(f"waiting room: {len(waiting)} in the queue, {len(self._waiters)} wait")
        if any(waiter.entry is not entry for entry, waiter in self._waiters.items()):
            raise IntegrityError("waiting room: somebody does not know where it waits")

    def _join(self, waiter: Waiter, missing_tokens: int) -> None:
        errand, decision = waiter.errand, waiter.decision
        entry = Entry(
            number=next(self._numbers),
            lane=decision.worker,
            tier=errand.tier,
            priority=errand.priority,
            since_seconds=waiter.since_seconds,
            missing_tokens=missing_tokens,
            is_in_turn=errand.is_in_turn,
            may_be_refused=errand.may_be_refused,
        )
        waiter.entry = entry
        self.queue.add(entry)
        self._waiters[entry] = waiter
        self._engines.protect(entry.lane, errand.name, decision.hashes[: decision.overlap_blocks])

    def _displace(self) -> None:
        if (least := self.queue.least()) is not None:
            self.fail(least, self._refused("displaced", "a more important request has taken this one's place"))

    def _refused(self, reason: str, message: str) -> TooManyRequests:
        self._account.refused[reason] += 1
        seconds = min(MAX_RETRY_SECONDS, max(1, math.ceil(self._account.last_waited_seconds)))
        return TooManyRequests(message, retry_after_seconds=seconds, code=f"queue_{reason}")
