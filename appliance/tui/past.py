"""Any recorded second of the box, and what led to it: asked of the box, which has recorded it."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from pydantic import ValidationError

from appliance.api.block_views import BlockMapView
from appliance.api.cache_views import SessionCaches
from appliance.api.eviction_page import EvictedBlock
from appliance.api.hint_views import Hints, HintView
from appliance.api.history_views import EvictionHistory, PastBlocks, PastEviction, PastPrefixes, PastSessions, Snapshot
from appliance.api.policy_views import PolicyBody, PolicyHistory, PolicyVersionView
from appliance.api.prefix_views import Prefixes
from appliance.api.request_views import RequestList, RequestView
from appliance.api.routing_views import MAX_LISTED as MAX_DECISIONS
from appliance.api.routing_views import PastRouting, Routing, RoutingTotals
from appliance.api.views import BoxStatus
from appliance.tui.frame import Feed, Frame, Wanted
from appliance.tui.link import Link, Refused
from appliance.tui.models.blocks import coarser
from appliance.tui.trail import Sample, sample_of

STEP_SECONDS: Final = 10.0
CURVE_SECONDS: Final = 900.0
AT_ONCE: Final = 16
"""Snapshots asked for in one tick: a curve of the past comes in pieces, and holds up nothing."""
KEPT: Final = 2000
SURELY_WRITTEN_SECONDS: Final = 60.0
EVICTIONS_SECONDS: Final = 600.0
LISTED: Final = 1000

T = TypeVar("T")


class Asked(NamedTuple):
    """What a frame is to have; `recorded_at` is filled in."""

    at: float
    status: BoxStatus
    wanted: Wanted
    recorded_at: dict[str, float]


class Past:
    """Bounded; for the thread of the frames."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._samples: OrderedDict[float, Sample | None] = OrderedDict()
        self._kept: tuple[tuple[float, Wanted], tuple[Frame, Sample]] | None = None
        """What was asked for last, while it stays as it is."""
        self._feeds: dict[Feed, Callable[[Asked], Any]] = {
            Feed.EVICTIONS: self._evictions,
            Feed.REQUESTS: self._requests,
            Feed.POLICY: self._policy,
            Feed.VERSIONS: self._versions,
            Feed.HINTS: self._hints,
            Feed.ROUTING: self._routing,
            Feed.SESSIONS: self._sessions,
            Feed.BLOCKS: self._blocks,
            Feed.PREFIXES: self._prefixes,
        }

    def frame(self, now: float, at: float, wanted: Wanted) -> Frame:
        """The box as it was; without a status where nothing was recorded, and why is among the problems. Raises
        `LinkLost`."""
        if self._kept is None or self._kept[0] != (at, wanted):
            try:
                self._kept = (at, wanted), self._seen(at, wanted)
            except Refused as error:
                return Frame(at=at, past_of=now, problems={"history": error.message})
        _, (seen, last) = self._kept
        if seen.problems or now - at <= SURELY_WRITTEN_SECONDS:
            # What was refused may be told another time, and what has just happened may not be written yet.
            self._kept = None
        return dataclasses.replace(seen, past_of=now, samples=self._curve(now, at, last))

    def _seen(self, at: float, wanted: Wanted) -> tuple[Frame, Sample]:
        """Without what led to it. Raises `Refused`."""
        snapshot = self._snapshot(at)
        asked = Asked(at, _status(snapshot), wanted, {})
        parts: dict[str, Any] = {}
        problems = {}
        for feed in sorted(wanted.feeds & self._feeds.keys()):
            try:
                parts[feed.value] = self._feeds[feed](asked)
            except Refused as error:
                problems[feed.value] = error.message
        frame = Frame(
            at=snapshot.at,
            said_at=snapshot.at,
            status=asked.status,
            problems=problems,
            recorded_at=asked.recorded_at,
            **parts,
        )
        return frame, sample_of(snapshot.at, asked.status)

    def _evictions(self, asked: Asked) -> tuple[EvictedBlock, ...]:
        since = asked.at - EVICTIONS_SECONDS
        route = f"/box/v1/evictions/history?limit={LISTED}&since={since:.3f}&until={asked.at:.3f}"
        return tuple(map(_evicted, reversed(self._told(route, EvictionHistory).evictions)))

    def _requests(self, asked: Asked) -> tuple[RequestView, ...]:
        listed = self._told(f"/box/v1/requests?limit={LISTED}&until={asked.at:.3f}", RequestList)
        return tuple(one for one in listed.requests if one.arrived_at + one.total_seconds <= asked.at)

    def _policy(self, asked: Asked) -> PolicyBody:
        return self._told(f"/box/v1/policy?at={asked.at:.3f}", PolicyBody)

    def _versions(self, asked: Asked) -> tuple[PolicyVersionView, ...]:
        return _as_it_was(self._told(f"/box/v1/policy/history?until={asked.at:.3f}", PolicyHistory).versions)

    def _hints(self, asked: Asked) -> tuple[HintView, ...]:
        return tuple(self._told(f"/box/v1/hints?at={asked.at:.3f}", Hints).hints)

    def _routing(self, asked: Asked) -> Routing:
        route = f"/box/v1/routing/history?until={asked.at:.3f}&limit={MAX_DECISIONS}"
        return _routing(self._told(route, PastRouting), asked.status)

    def _sessions(self, asked: Asked) -> SessionCaches:
        found = self._told(f"/box/v1/cache/sessions/history?at={asked.at:.3f}", PastSessions)
        asked.recorded_at[Feed.SESSIONS.value] = found.at
        return found.sessions

    def _blocks(self, asked: Asked) -> BlockMapView:
        whose = asked.wanted.whose
        whose = f"tier={whose}" if isinstance(whose, str) else f"worker={whose}"
        found = self._told(f"/box/v1/blocks/history?{whose}&at={asked.at:.3f}", PastBlocks)
        asked.recorded_at[Feed.BLOCKS.value] = found.at
        return coarser(found.blocks, asked.wanted.cells)

    def _prefixes(self, asked: Asked) -> Prefixes:
        found = self._told(f"/box/v1/prefixes/history?at={asked.at:.3f}", PastPrefixes)
        asked.recorded_at[Feed.PREFIXES.value] = found.at
        return found.prefixes

    def _curve(self, now: float, at: float, last: Sample) -> tuple[Sample, ...]:
        """What is known of the last minutes before, the newest asked for first."""
        places = [
            at // STEP_SECONDS * STEP_SECONDS - STEP_SECONDS * back for back in range(int(CURVE_SECONDS / STEP_SECONDS))
        ]
        for place in [place for place in places if place not in self._samples][:AT_ONCE]:
            sample = self._sample(place)
            # What has just happened may not be written yet: it is asked for again.
            if sample is not None or now - place > SURELY_WRITTEN_SECONDS:
                self._samples[place] = sample
            if len(self._samples) > KEPT:
                self._samples.popitem(last=False)
        known = [self._samples.get(place) for place in reversed(places)]
        return (*(one for one in known if one is not None and one.at < last.at), last)

    def _sample(self, at: float) -> Sample | None:
        """`None` for a time of which nothing was recorded, or not within a step of it."""
        try:
            snapshot = self._snapshot(at)
        except Refused:
            return None
        return sample_of(snapshot.at, _status(snapshot)) if at - snapshot.at < STEP_SECONDS else None

    def _snapshot(self, at: float) -> Snapshot:
        return self._told(f"/box/v1/snapshot?at={at:.3f}", Snapshot)

    def _told(self, route: str, kind: type[T]) -> T:
        return msgspec.json.decode(self._link.get(route), type=kind)


def _status(snapshot: Snapshot) -> BoxStatus:
    try:
        return BoxStatus.told(snapshot.status)
    except ValidationError as error:
        raise Refused(200, "that second was recorded by another version of the box") from error


def _routing(told: PastRouting, status: BoxStatus) -> Routing:
    """With the totals of that second. How often a scorer had failed nobody has recorded."""
    totals = RoutingTotals(
        told.decisions[0].number if told.decisions else 0,
        sum(one.settled for one in status.regrets),
        sum(one.regretted for one in status.regrets),
        sum(one.regret_seconds for one in status.regrets),
        sum(one.missed_tokens for one in status.regrets),
        0,
    )
    return Routing(totals, [one.decision for one in told.decisions])


def _as_it_was(versions: list[PolicyVersionView]) -> tuple[PolicyVersionView, ...]:
    """The one that was active then is marked; what it was going to realise nobody knew."""
    marked = [msgspec.structs.replace(one, active=False) for one in versions]
    if marked:
        marked[0] = msgspec.structs.replace(marked[0], active=True, prompt_tokens=0, cached_tokens=0, hit_rate=None)
    return tuple(marked)


def _evicted(one: PastEviction) -> EvictedBlock:
    return EvictedBlock(
        number=one.number,
        at=one.at,
        worker=one.worker,
        block_hash=one.block_hash,
        first_token=one.first_token,
        region=one.region,
        owner=one.owner,
        age_seconds=one.age_seconds,
        priority=one.priority,
        rule=one.rule,
        awaited=one.awaited,
        cause=_cause(one),
        cause_session=one.cause_session,
        cause_request=one.cause_request,
    )


def _cause(one: PastEviction) -> Literal["same_session", "other_session", "unnamed"]:
    if one.cause_session is None:
        return "unnamed"
    return "same_session" if one.cause_session == one.owner else "other_session"


def moment_of(text: str, now: float) -> float | None:
    """A time as people write it: `14:05`, `14:05:30` (today, or yesterday where that is still to come), `-90s`, `-10m`,
    `-2h`. `None` for what is none."""
    text = text.strip()
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text.startswith("-") and text[-1:] in units and text[1:-1].isdigit():
        return now - int(text[1:-1]) * units[text[-1]]
    for form in ("%H:%M:%S", "%H:%M"):
        try:
            parsed = time.strptime(text, form)
        except ValueError:
            continue
        today = time.localtime(now)
        at = time.mktime((*today[:3], *parsed[3:6], 0, 0, -1))
        return at if at <= now else at - 86400
    return None
