"""The box's events, asked for a tick at a time: what came since the last one that was heard."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec
from msgspec import Struct

from appliance.tui.link import Link

KEPT: Final = 2000
_ROUTE: Final = "/box/v1/events?from=oldest&follow=false"


class ToldEvent(Struct, frozen=True):
    """As `box_events.BoxEvent`, of whichever type: also one that this console does not know yet."""

    number: int
    at: float
    event: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.event.get("type", "unknown"))


class EventFeed:
    """Bounded. What the box has forgotten before it was asked, it says itself: as an event `missed`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._last_id: str | None = None
        self._kept: deque[ToldEvent] = deque(maxlen=KEPT)
        self._events: tuple[ToldEvent, ...] = ()

    def newer(self) -> tuple[ToldEvent, ...]:
        """All that are kept, with what came meanwhile. Raises as `Link.get`."""
        headers = {} if self._last_id is None else {"last-event-id": self._last_id}
        told = self._read(self._link.get(_ROUTE, headers))
        if told:
            self._kept.extend(told)
            self._events = tuple(self._kept)
        return self._events

    def _read(self, stream: bytes) -> list[ToldEvent]:
        told = []
        for line in stream.splitlines():
            if line.startswith(b"id: "):
                self._last_id = line.removeprefix(b"id: ").decode("ascii")
            elif line.startswith(b"data: "):
                told.append(msgspec.json.decode(line.removeprefix(b"data: "), type=ToldEvent))
        return told
