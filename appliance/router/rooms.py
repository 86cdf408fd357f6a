"""Which worker has room for what, by the router's count, the engines' word and the places that were given out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Protocol

from appliance.router.decision import Decision
from appliance.router.errors import NoWorker
from appliance.router.hashing import Hashes
from appliance.router.places import Errand, Place, Places
from appliance.router.room import Capacity, Lack, Occupancy, find_lack
from appliance.router.router import WorkerStatus


class Engines(Protocol):
    """What the engines hold, and what they are told to keep. Nothing here waits."""

    def ids(self) -> frozenset[int]:
        """All workers, dead or alive."""
        ...

    def dead(self) -> frozenset[int]: ...

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


class Rooms:
    """`on_change` is told of every place when its first token is there, and when it ends."""

    def __init__(self, loads: Loads, engines: Engines, on_change: Callable[[Place], None]) -> None:
        self.places = Places()
        self._loads = loads
        self._engines = engines
        self._on_change = on_change
        self._numbers = count()

    def route(self, errand: Errand) -> Decision:
        """By the errand's pin, else to a live worker, one of `avoid` only when there is no other. Raises `NoWorker`."""
        for exclude in self._exclusions(errand):
            with suppress(NoWorker):
                return errand.choose(exclude)
        raise NoWorker("no worker is alive", hint="wait until a worker is up")

    def lack(self, worker: int, errand: Errand, decision: Decision, *, is_background: bool) -> Lack | None:
        """What the worker lacks for this request, whose prompt is that of `decision`; `None`: there is room."""
        status = self._status(worker)
        if status is None:
            return None
        return find_lack(
            Occupancy(
                status,
                self._engines.kv_usage(worker),
                self.places.unread_blocks(worker),
                self.places.answer_blocks(worker),
            ),
            self._engines.capacity(worker),
            block_tokens=self._loads.block_tokens,
            needs_blocks=decision.prompt_blocks + self._answer_blocks(errand),
            is_background=is_background,
        )

    def seat(self, errand: Errand, decision: Decision) -> Place:
        """A new place. Whoever was there only because there was time ends, if this is real work."""
        if errand.give_way is None:
            self.clear(decision.worker)
        place = Place(
            errand,
            decision,
            errand.admit(decision),
            decision.prompt_blocks,
            self._answer_blocks(errand),
            next(self._numbers),
            self._started,
            self._closed,
        )
        self.places.add(place)
        return place

    def clear(self, worker: int) -> None:
        """Real work comes: whoever is there only because there was time ends."""
        for place in self.places.guests(worker):
            if place.errand.give_way is not None:
                place.errand.give_way()
                place.close()

    def missing_tokens(self, decision: Decision) -> int:
        return decision.uncached_blocks * self._loads.block_tokens

    def prefill_tokens(self, worker: int) -> int:
        """That the worker has been given to compute and has not computed yet."""
        status = self._status(worker)
        return 0 if status is None else status.prefill_blocks * self._loads.block_tokens

    def busy_share(self) -> float:
        """Of the workers that take requests, how many have prompts to compute, 0 … 1."""
        accepting = [status for status in self._loads.snapshot() if status.accepting]
        return sum(status.prefill_blocks > 0 for status in accepting) / len(accepting) if accepting else 0.0

    def is_empty(self) -> bool:
        """Whether no worker has anything to do."""
        return not any(status.running for status in self._loads.snapshot())

    def _started(self, place: Place) -> None:
        self.places.read(place)
        self._on_change(place)

    def _closed(self, place: Place) -> None:
        self.places.remove(place)
        self._on_change(place)

    def _exclusions(self, errand: Errand) -> Iterator[frozenset[int]]:
        dead = self._engines.dead()
        if errand.pin is not None and errand.pin not in dead | errand.avoid:
            yield self._engines.ids() - {errand.pin}
        yield dead | errand.avoid
        yield dead

    def _status(self, worker: int) -> WorkerStatus | None:
        return next((status for status in self._loads.snapshot() if status.worker == worker), None)

    def _answer_blocks(self, errand: Errand) -> int:
        return -(-errand.answer_tokens // self._loads.block_tokens)
