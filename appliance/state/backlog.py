"""Records on their way to the file: as many as there is room for, and a count of those for which there was none."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.records import (
    AccessRecord,
    ActionRecord,
    DecisionRecord,
    EvictionRecord,
    PolicyRecord,
    Record,
    RequestRecord,
    SessionRecord,
    SnapshotRecord,
    ViewRecord,
)
from appliance.state.stored import OVERHEAD, StoredChange


@dataclass(frozen=True, slots=True)
class ManyEvictions:
    """So many at once. `make` is called in the thread that writes: a thousand records take ten milliseconds."""

    count: int
    make: Callable[[], Iterable[EvictionRecord]]


Entry = Record | StoredChange | ManyEvictions


class Kind(NamedTuple):
    """`room`: how much of it may wait; records count 1 each, accesses and what is stored for clients their bytes."""

    name: str
    room: int


KINDS: Final[dict[type[Entry], Kind]] = {
    SessionRecord: Kind("sessions", 1 << 13),
    RequestRecord: Kind("requests", 1 << 13),
    EvictionRecord: Kind("evictions", 1 << 13),
    ManyEvictions: Kind("evictions", 1 << 16),
    DecisionRecord: Kind("decisions", 1 << 13),
    ActionRecord: Kind("actions", 1 << 12),
    PolicyRecord: Kind("policies", 1 << 8),
    SnapshotRecord: Kind("snapshots", 120),
    ViewRecord: Kind("views", 64),
    AccessRecord: Kind("accesses", 16 * 2**20),
    StoredChange: Kind("stored", 64 * 2**20),
}
"""In the order of writing: a request refers to its session."""


class Backlog:
    """`add` is for the serving loop, the rest for the one thread that writes. An append and a pop of a deque need no
    lock, and each counter has one thread that changes it."""

    def __init__(self, kinds: dict[type[Entry], Kind] = KINDS) -> None:
        self._kinds = kinds
        self._waiting: dict[type[Entry], deque[Entry]] = {kind: deque() for kind in kinds}
        self._added: Counter[type[Entry]] = Counter()
        self._taken: Counter[type[Entry]] = Counter()
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, entry: Entry) -> None:
        kind = type(entry)
        weight = _weight(entry)
        if self._added[kind] - self._taken[kind] + weight > self._kinds[kind].room:
            self.dropped[self._kinds[kind].name] += count_of(entry)
            return
        self._added[kind] += weight
        self._waiting[kind].append(entry)

    def oldest(self, most: int) -> list[Entry]:
        """At most so many that have waited longest, in the order of writing; they wait until they are `done`."""
        found: list[Entry] = []
        for waiting in self._waiting.values():
            # A deque that grows meanwhile cannot be iterated.
            found += [waiting[at] for at in range(min(len(waiting), most - len(found)))]
        return found

    def done(self, entries: list[Entry]) -> None:
        """The oldest ones of their kinds: written, or refused by the file for ever."""
        for entry in entries:
            kind = type(entry)
            self._waiting[kind].popleft()
            self._taken[kind] += _weight(entry)


def count_of(entry: Entry) -> int:
    """How many records it is."""
    return entry.count if isinstance(entry, ManyEvictions) else 1


def _weight(entry: Entry) -> int:
    if isinstance(entry, AccessRecord):
        return OVERHEAD + len(entry.keys) + len(entry.regions)
    return entry.weight if isinstance(entry, StoredChange) else count_of(entry)
