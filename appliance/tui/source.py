"""Frames of one box: its status and what the screen wants beside it, asked one after the other in a thread."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from pydantic import ValidationError

from appliance.api.block_views import BlockMapView
from appliance.api.cache_views import CacheView, SessionCaches
from appliance.api.eviction_page import EvictedBlock, EvictionPage
from appliance.api.hint_views import Hints
from appliance.api.policy_views import PolicyBody, PolicyHistory
from appliance.api.prefix_views import Prefixes
from appliance.api.request_views import RequestList
from appliance.api.routing_views import Routing
from appliance.api.views import BoxStatus
from appliance.tui.event_feed import EventFeed
from appliance.tui.frame import Feed, Frame, Wanted
from appliance.tui.link import Link, LinkLost, Refused
from appliance.tui.machine import Machine
from appliance.tui.past import Past

LISTED_SESSIONS: Final = 500
LISTED_DECISIONS: Final = 200
LISTED_PROMPTS: Final = 128
SHOWN_CHARACTERS: Final = 160
LISTED_REQUESTS: Final = 200
EVICTIONS_AT_ONCE: Final = 1000
KEPT_EVICTIONS: Final = 2000


class Document(NamedTuple):
    """Where a feed is, what it is, and the lists in it that are wanted, if not all: they are called as the fields of
    `Frame` are."""

    route: str
    kind: type[Any]
    lists: tuple[str, ...] = ()


DOCUMENTS: Final = {
    Feed.CACHE: Document("/box/v1/cache", CacheView),
    Feed.SESSIONS: Document(f"/box/v1/cache/sessions?limit={LISTED_SESSIONS}", SessionCaches),
    Feed.ROUTING: Document(f"/box/v1/routing?limit={LISTED_DECISIONS}", Routing),
    Feed.POLICY: Document("/box/v1/policy", PolicyBody),
    Feed.VERSIONS: Document("/box/v1/policy/history", PolicyHistory, ("versions",)),
    Feed.REQUESTS: Document(f"/box/v1/requests?limit={LISTED_REQUESTS}", RequestList, ("requests", "active")),
    Feed.BLOCKS: Document("/box/v1/blocks?{whose}&cells={cells}", BlockMapView),
    Feed.PREFIXES: Document(f"/box/v1/prefixes?limit={LISTED_PROMPTS}&text={SHOWN_CHARACTERS}", Prefixes),
    Feed.HINTS: Document("/box/v1/hints", Hints, ("hints",)),
}


class Source(Protocol):
    """Where frames come from. Both methods block: for a thread."""

    def frame(self, wanted: Wanted) -> Frame:
        """Never raises for a box that does not answer."""
        ...

    def close(self) -> None:
        """From any thread: have a `frame` that waits return."""
        ...


class BoxSource:
    """`Source` over a link. `machine` is `None` where the box is on another machine."""

    def __init__(self, link: Link, machine: Machine | None, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._machine = machine
        self._clock = clock
        self._last = Frame(at=0.0)
        self._evictions: deque[EvictedBlock] = deque(maxlen=KEPT_EVICTIONS)
        self._next_eviction: int | None = None
        self._missed_evictions = 0
        self._events = EventFeed(link)
        self._past = Past(link)
        self._started_at: float | None = None

    def frame(self, wanted: Wanted) -> Frame:
        at = self._clock()
        try:
            if wanted.at is not None:
                return self._past.frame(at, wanted.at, wanted)
            self._last = self._asked(at, wanted)
        except (LinkLost, Refused) as error:
            self._last = dataclasses.replace(self._last, at=at, lost=error.message)
        return self._last

    def close(self) -> None:
        self._link.close()

    def _asked(self, at: float, wanted: Wanted) -> Frame:
        status = self._status()
        if status.started_at != self._started_at:
            self._begin_anew(status.started_at)
        answers: dict[str, Any] = {}
        problems: dict[str, str] = {}
        for feed in sorted(wanted.feeds):
            try:
                answers |= self._answer(feed, wanted)
            except Refused as error:
                problems[feed.value] = error.message
            except msgspec.DecodeError as error:
                problems[feed.value] = f"the answer is not what this console knows: {error}"
        loads = {} if self._machine is None else self._machine.loads(status.workers)
        return Frame(
            at=at,
            said_at=at,
            status=status,
            loads=loads,
            problems=problems,
            missed_evictions=self._missed_evictions,
            **answers,
        )

    def _begin_anew(self, started_at: float) -> None:
        self._started_at = started_at
        self._evictions.clear()
        self._next_eviction = None
        self._missed_evictions = 0

    def _status(self) -> BoxStatus:
        answer = self._link.get("/box/v1/status")
        try:
            return BoxStatus.told(answer)
        except ValidationError as error:
            raise Refused(200, _misfit(answer, error)) from error

    def _answer(self, feed: Feed, wanted: Wanted) -> dict[str, Any]:
        """By the names of the frame's fields."""
        if feed is Feed.EVICTIONS:
            return {feed.value: self._newer_evictions()}
        if feed is Feed.EVENTS:
            return {feed.value: self._events.newer()}
        route, kind, lists = DOCUMENTS[feed]
        whose = f"tier={wanted.whose}" if isinstance(wanted.whose, str) else f"tier=gpu&worker={wanted.whose}"
        route = route.format(whose=whose, cells=wanted.cells)
        document = msgspec.json.decode(self._link.get(route), type=kind)
        return {name: tuple(getattr(document, name)) for name in lists} or {feed.value: document}

    def _newer_evictions(self) -> tuple[EvictedBlock, ...]:
        """Those that are kept here, with what came since they were last asked for."""
        since = "" if self._next_eviction is None else f"&since={self._next_eviction}"
        answer = self._link.get(f"/box/v1/evictions?limit={EVICTIONS_AT_ONCE}{since}")
        page = msgspec.json.decode(answer, type=EvictionPage)
        self._evictions.extend(page.evictions)
        self._next_eviction = page.next
        self._missed_evictions += page.missed
        return tuple(self._evictions)


def _misfit(answer: bytes, error: ValidationError) -> str:
    """What answers is no box, or one of another version."""
    from appliance import __version__

    try:
        version = msgspec.json.decode(answer)["version"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "what answers there is no dynamo-box"
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"the box is {version} and this console {__version__}; its status cannot be read: {place}: {first['msg']}"
