"""What had to go from the engines' caches: counted, and the newest of it remembered."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Final, NamedTuple

from appliance.cache.region import Region
from appliance.engine.retention.eviction import Eviction, EvictionBatch

MOST_REMEMBERED: Final = 1 << 14


class Cause(StrEnum):
    """Who needed the room."""

    SAME_SESSION = "same_session"
    OTHER_SESSION = "other_session"
    UNNAMED = "unnamed"
    """A request of no session."""


class Kind(NamedTuple):
    """What evictions are counted by. `rule`: what decided; `None` for both where nobody had claimed the block, or
    nobody knows whose it was."""

    cause: Cause
    rule: str | None
    region: Region | None


class Evicted(NamedTuple):
    """`at_seconds` is when it was told, since 1970."""

    at_seconds: float
    worker: int
    region: Region | None
    eviction: Eviction


class Remembered(NamedTuple):
    """Evictions in a row, the oldest first; `first_number` is that of the first of them, counted since the start."""

    first_number: int
    evictions: tuple[Evicted, ...]


class EvictionLog:
    """Counts since the start; the newest `most` blocks one by one."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.counts: Counter[Kind] = Counter()
        self.num_awaited = 0
        """Blocks that had to go although a waiting request wanted them."""
        self.recent: deque[Evicted] = deque(maxlen=most)
        self.on_evicted: Callable[[int, Sequence[Evicted]], None] = lambda _first_number, _told: None
        """Told of those that `add_all` adds, with the number of the first: what `remembered` calls it."""
        self._added = 0
        self._dropped_by: dict[int, int] = {}
        self._dropped_before = 0

    @property
    def num_dropped(self) -> int:
        """Evictions that no engine told, because nobody asked in time."""
        return self._dropped_before + sum(self._dropped_by.values())

    def add(self, evicted: Evicted) -> None:
        eviction = evicted.eviction
        self._added += 1
        self.counts[Kind(cause_of(eviction), eviction.rule, evicted.region)] += 1
        self.num_awaited += eviction.awaited
        self.recent.append(evicted)

    def add_all(self, told: Sequence[Evicted]) -> None:
        if told:
            self.on_evicted(self._added, told)
        for evicted in told:
            self.add(evicted)

    def remembered(self, since: int | None, limit: int) -> Remembered:
        """At most `limit`: the oldest with a number of at least `since`, without it the newest."""
        end = self._added
        oldest = end - len(self.recent)
        first = max(end - limit if since is None else min(since, end), oldest)
        return Remembered(first, tuple(islice(self.recent, first - oldest, first - oldest + limit)))

    def told(self, worker: int, batch: EvictionBatch) -> None:
        """What the engine has dropped so far; it counts anew when it was started again."""
        before = self._dropped_by.get(worker, 0)
        if batch.num_dropped < before:
            self._dropped_before += before
        self._dropped_by[worker] = batch.num_dropped


def cause_of(eviction: Eviction) -> Cause:
    if eviction.cause is None:
        return Cause.UNNAMED
    return Cause.SAME_SESSION if eviction.cause == eviction.owner else Cause.OTHER_SESSION
