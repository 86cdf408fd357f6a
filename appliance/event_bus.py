"""Numbers what happens in the box and remembers the newest of it for those who watch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from appliance.box_events import BoxEvent, Event, Grouped, type_of

MOST_REMEMBERED: Final = 4096
MOST_SINGLY: Final = 50
WINDOW_SECONDS: Final = 1.0


class Backlog(NamedTuple):
    """Events in order; `lost` came before them and are not remembered any more."""

    events: tuple[BoxEvent, ...]
    lost: int


@dataclass(slots=True)
class _Window:
    ends_at: float
    told: int = 0
    hidden: int = 0


class EventBus:
    """For the serving loop: `emit` takes microseconds and never waits.

    At most `most_singly` events of a type are told one by one in a second; the others are counted in one `Grouped`.
    Readers have no queues: each reads on from the last number that it has seen, and one that is slower than the newest
    `most_remembered` events learns how many it has lost.
    """

    def __init__(
        self,
        boot: int = 0,
        *,
        most_remembered: int = MOST_REMEMBERED,
        most_singly: int = MOST_SINGLY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`boot` tells this box from the one before it: numbers start anew."""
        self.boot = boot
        self.is_closed = False
        self._most_singly = most_singly
        self._clock = clock
        self._events: deque[BoxEvent] = deque(maxlen=most_remembered)
        self._last = 0
        self._windows: dict[str, _Window] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def last(self) -> int:
        """The number of the newest; 0 before the first."""
        return self._last

    @property
    def oldest(self) -> int:
        """The number of the oldest that is remembered; of the next to come when there is none."""
        return self._last - len(self._events) + 1

    def emit(self, event: Event) -> None:
        now, kind = self._clock(), type_of(event)
        window = self._windows.get(kind)
        if window is None or not now < window.ends_at <= now + WINDOW_SECONDS:
            self._end(kind, now)
            window = self._windows[kind] = _Window(now + WINDOW_SECONDS)
        window.told += 1
        if window.told > self._most_singly:
            window.hidden += 1
        else:
            self._add(now, event)

    def settle(self) -> None:
        """Tell of what was grouped, where its second is over."""
        now = self._clock()
        for kind in [kind for kind, window in self._windows.items() if now >= window.ends_at]:
            self._end(kind, now)

    def after(self, number: int, most: int = MOST_REMEMBERED) -> Backlog:
        """The oldest `most` of those behind this number."""
        first = max(number + 1, self.oldest)
        skipped = first - self.oldest
        return Backlog(tuple(islice(self._events, skipped, skipped + most)), first - number - 1)

    async def changed(self, number: int) -> None:
        """Return when there is something behind this number, when the bus is closed, or after a second."""
        self.settle()
        if self._last > number or self.is_closed:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(WINDOW_SECONDS):
                    await waiting
        finally:
            self._waiting.discard(waiting)
        self.settle()

    def close(self) -> None:
        """Nothing more will happen: readers end when they have read all."""
        for kind in list(self._windows):
            self._end(kind, self._clock())
        self.is_closed = True
        self._wake()

    def _end(self, kind: str, now: float) -> None:
        window = self._windows.pop(kind, None)
        if window is not None and window.hidden:
            self._add(now, Grouped(kind, window.hidden, WINDOW_SECONDS))

    def _add(self, now: float, event: Event) -> None:
        self._last += 1
        self._events.append(BoxEvent(self._last, now, event))
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
