"""The requests that have a place on a worker: what they hold there, and which could make room for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from appliance.cache.prompt_read import NO_TOKENS, TierTokens
from appliance.errors import SetAside
from appliance.router.decision import Decision
from appliance.router.errors import IntegrityError
from appliance.router.load import Ticket
from appliance.router.queue import Importance
from appliance.router.room import Lack

Choose = Callable[[frozenset[int]], Decision]
Admit = Callable[[Decision], Ticket]
TakeOff = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """One request, or what is left of it, as the queue needs to know it.

    `choose` routes it among all workers but those it is given, `admit` makes the ticket. It goes to `pin` when that
    lives, and to none of `avoid` while another lives. `answer_tokens` is how long its answer is said to be. `set_aside`
    takes it off the worker it is on, to come back later; `None`: it cannot. One that `may_be_refused` has not been let
    in yet. One that can `give_way` ends at once, and for good, when anybody else comes to its worker.
    """

    name: str
    choose: Choose
    admit: Admit
    tier: int = 0
    priority: int = 0
    answer_tokens: int = 0
    is_in_turn: bool = False
    may_be_refused: bool = True
    pin: int | None = None
    avoid: frozenset[int] = frozenset()
    set_aside: TakeOff | None = None
    give_way: Callable[[], None] | None = None

    @property
    def importance(self) -> Importance:
        return Importance(self.tier, self.priority)

    @property
    def is_background(self) -> bool:
        return self.importance < Importance(0, 0)


@dataclass(slots=True, eq=False)
class Place:
    """A request on its worker, from its admission until `close`, which whoever holds it must call."""

    errand: Errand
    decision: Decision
    ticket: Ticket
    prompt_blocks: int
    answer_blocks: int
    number: int
    on_started: Callable[[Place], None] = field(repr=False)
    on_closed: Callable[[Place], None] = field(repr=False)
    is_reading: bool = True
    is_closed: bool = False
    awaited_on: int | None = None
    """The worker that was told to keep its blocks while it waited."""

    @property
    def worker(self) -> int:
        return self.decision.worker

    def advance(self, tokens: int, cached_tokens: int | None = None, below: TierTokens = NO_TOKENS) -> None:
        """So many more tokens are there; the first one ends the reading of the prompt, of which `cached_tokens` were
        read from cache, and `below` of these from slower tiers. Raises `SetAside` when the place was taken back while
        the prompt was read: the engine may not have known the request yet when it was told to let go of it."""
        if self.is_reading and self.is_closed:
            raise SetAside(f"{self.errand.name} made room")
        self.ticket.advance(tokens, cached_tokens, below)
        if self.is_reading:
            self.is_reading = False
            self.on_started(self)

    def close(self) -> None:
        """The request ended there, in whatever way. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self.ticket.close()
            self.on_closed(self)


@dataclass(slots=True)
class _Held:
    places: set[Place] = field(default_factory=set)
    guests: set[Place] = field(default_factory=set)
    unread_blocks: int = 0
    answer_blocks: int = 0


class Places:
    """The open ones, by worker. Whoever changes one tells: `add`, `read` at its first token, `remove`."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def __len__(self) -> int:
        return sum(len(held.places) for held in self._held.values())

    def add(self, place: Place) -> None:
        held = self._held.setdefault(place.worker, _Held())
        held.places.add(place)
        if place.errand.give_way is not None:
            held.guests.add(place)
        held.unread_blocks += place.prompt_blocks
        held.answer_blocks += place.answer_blocks

    def read(self, place: Place) -> None:
        """The engine has read its prompt. `is_reading` is false already."""
        self._held[place.worker].unread_blocks -= place.prompt_blocks

    def remove(self, place: Place) -> None:
        held = self._held[place.worker]
        held.places.remove(place)
        held.guests.discard(place)
        held.answer_blocks -= place.answer_blocks
        if place.is_reading:
            held.unread_blocks -= place.prompt_blocks
        if not held.places:
            del self._held[place.worker]

    def guests(self, worker: int) -> list[Place]:
        """Those that give way to whoever comes."""
        return list(self._held[worker].guests) if worker in self._held else []

    def unread_blocks(self, worker: int) -> int:
        """Of prompts that have a place and no token yet."""
        return self._held[worker].unread_blocks if worker in self._held else 0

    def answer_blocks(self, worker: int) -> int:
        """That the answers of all places are said to need."""
        return self._held[worker].answer_blocks if worker in self._held else 0

    def victim(self, worker: int, importance: Importance, lack: Lack) -> Place | None:
        """Which place on a worker should make room: the least important below `importance` that can come back, and of
        several the last to get its place. What waits for prefill is helped only by one that is still read."""
        candidates = [
            place
            for place in self._on(worker)
            if place.errand.importance < importance
            and place.errand.set_aside is not None
            and (place.is_reading or lack is not Lack.PREFILL)
        ]
        return min(candidates, key=lambda place: (place.errand.importance, -place.number), default=None)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        for worker, held in self._held.items():
            unread = sum(place.prompt_blocks for place in held.places if place.is_reading)
            answers = sum(place.answer_blocks for place in held.places)
            if (unread, answers) != (held.unread_blocks, held.answer_blocks) or not held.places:
                raise IntegrityError(f"places: worker {worker} counts {held.unread_blocks} unread blocks, not {unread}")
            if held.guests != {place for place in held.places if place.errand.give_way is not None}:
                raise IntegrityError(f"places: worker {worker} counts {len(held.guests)} guests, and that is wrong")
            if any(place.is_closed or place.worker != worker for place in held.places):
                raise IntegrityError(f"places: worker {worker} has a closed place, or another's")

    def _on(self, worker: int) -> Iterator[Place]:
        return iter(self._held[worker].places if worker in self._held else ())
