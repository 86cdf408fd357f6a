"""The requests that wait for room on a worker: one bounded queue, with a lane for each worker that is waited for."""

from __future__ import annotations

import heapq
from collections.abc import Container, Sized
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from appliance.cache.queue_order import QueueOrder, is_overdue, rank
from appliance.router.errors import IntegrityError

ORDERS = (QueueOrder.LEAST_MISSING, QueueOrder.IN_TURN)
_SLACK = 16

Key = tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One request that waits in `lane`. One that goes to another lane becomes another entry.

    A higher `tier` outranks every lower one; inside a tier a higher `priority` is more important. Only entries that
    `may_be_refused` count against the depth, grow too old and give way to more important ones: the others have been
    let in before.
    """

    number: int
    lane: int
    tier: int
    priority: int
    since_seconds: float
    missing_tokens: int
    is_in_turn: bool = False
    may_be_refused: bool = True

    @property
    def importance(self) -> Importance:
        return Importance(self.tier, self.priority)


class Importance(NamedTuple):
    """Compares as a request's claim to go before others, whatever the cache holds."""

    tier: int
    priority: int


class _Live(Container[Entry], Sized, Protocol):
    pass


class _Heap:
    """Entries by key. Those that are not live any more are dropped when they come up, or when they are the most."""

    def __init__(self) -> None:
        self._rows: list[tuple[Key, int, Entry]] = []

    def push(self, key: Key, entry: Entry, live: _Live) -> None:
        if len(self._rows) > 2 * len(live) + _SLACK:
            self._rows = [row for row in self._rows if row[2] in live]
            heapq.heapify(self._rows)
        heapq.heappush(self._rows, (key, entry.number, entry))

    def first(self, live: _Live) -> Entry | None:
        while self._rows and self._rows[0][2] not in live:
            heapq.heappop(self._rows)
        return self._rows[0][2] if self._rows else None


@dataclass(slots=True)
class _Lane:
    entries: set[Entry] = field(default_factory=set)
    tokens: int = 0
    by_age: _Heap = field(default_factory=_Heap)
    by_order: dict[QueueOrder, _Heap] = field(default_factory=lambda: {order: _Heap() for order in ORDERS})


class WaitingQueue:
    """At most `depth` entries that may be refused, and the others. Every operation takes O(log n), amortised.

    Of one lane, the highest tier goes first. Inside the tier goes whoever has waited longer than the order's patience
    (`cache.queue_order`), the oldest first; else the highest priority, and of those the first by the order's rank. So
    inside its tier nobody waits longer than the patience and the turns of those who came before; a lower tier waits
    for as long as a higher one does.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._lanes: dict[int, _Lane] = {}
        self._refusable: set[Entry] = set()
        self._oldest = _Heap()
        self._least = _Heap()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, entry: Entry) -> bool:
        lane = self._lanes.get(entry.lane)
        return lane is not None and entry in lane.entries

    @property
    def is_full(self) -> bool:
        return len(self._refusable) >= self.depth

    @property
    def lanes(self) -> list[int]:
        """Those in which somebody waits."""
        return list(self._lanes)

    def is_waited_for(self, lane: int) -> bool:
        return lane in self._lanes

    def tokens(self, lane: int) -> int:
        """Tokens that the entries of a lane lack, all together."""
        return self._lanes[lane].tokens if lane in self._lanes else 0

    def entries(self, lane: int) -> list[Entry]:
        """In no order."""
        return list(self._lanes[lane].entries) if lane in self._lanes else []

    def add(self, entry: Entry) -> None:
        """The caller has seen to it that there is room. An entry is added once, and its number is no other's."""
        lane = self._lanes.setdefault(entry.lane, _Lane())
        lane.entries.add(entry)
        lane.tokens += entry.missing_tokens
        self._size += 1
        lane.by_age.push((-entry.tier, entry.since_seconds), entry, lane.entries)
        for order, heap in lane.by_order.items():
            heap.push((-entry.tier, -entry.priority, *_rank(entry, order)), entry, lane.entries)
        if entry.may_be_refused:
            self._refusable.add(entry)
            self._oldest.push((entry.since_seconds,), entry, self._refusable)
            self._least.push((*entry.importance, -entry.since_seconds, -entry.number), entry, self._refusable)

    def discard(self, entry: Entry) -> None:
        """A no-op for one that does not wait."""
        if entry not in self:
            return
        lane = self._lanes[entry.lane]
        lane.entries.remove(entry)
        lane.tokens -= entry.missing_tokens
        self._size -= 1
        if not lane.entries:
            del self._lanes[entry.lane]
        self._refusable.discard(entry)

    def head(self, lane: int, order: QueueOrder, now_seconds: float) -> Entry | None:
        """Whose turn it is in a lane; `None` when nobody waits there."""
        waiting = self._lanes.get(lane)
        if waiting is None:
            return None
        oldest = waiting.by_age.first(waiting.entries)
        if oldest is not None and is_overdue(order, now_seconds - oldest.since_seconds):
            return oldest
        return waiting.by_order[order].first(waiting.entries)

    def oldest(self) -> Entry | None:
        """Who has waited longest of those that may be refused."""
        return self._oldest.first(self._refusable)

    def least(self) -> Entry | None:
        """The least important of those that may be refused, and of several the one that came last."""
        return self._least.first(self._refusable)

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when counts or heaps are not those of the entries. Does not mutate what is seen."""
        entries = [entry for lane in self._lanes.values() for entry in lane.entries]
        if len(entries) != self._size or {entry for entry in entries if entry.may_be_refused} != self._refusable:
            raise IntegrityError(
                f"queue: {self._size} counted, {len(entries)} in lanes, {len(self._refusable)} refusable"
            )
        for number, lane in self._lanes.items():
            if not lane.entries or lane.tokens != sum(entry.missing_tokens for entry in lane.entries):
                raise IntegrityError(f"queue: lane {number} counts {lane.tokens} tokens of {len(lane.entries)} entries")
            if any(entry.lane != number for entry in lane.entries):
                raise IntegrityError(f"queue: lane {number} holds another's entry")


def _rank(entry: Entry, order: QueueOrder) -> Key:
    return rank(
        order,
        arrival_seconds=entry.since_seconds,
        is_in_turn=entry.is_in_turn,
        missing_tokens=entry.missing_tokens,
    )
