"""What happened, in words: the box's events, and evictions with what they were, who lost them and to whom."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from appliance.api.eviction_page import EvictedBlock
from appliance.tui import figures
from appliance.tui.event_feed import ToldEvent
from appliance.tui.frame import Frame

KEPT: Final = 2000


class EventLine(Struct, frozen=True):
    """`count` events that are alike, the newest at `at`. `level` is `info`, `watch` or `bad`."""

    key: str
    at: float
    kind: str
    level: str
    words: str
    session: str | None = None
    request: str | None = None
    worker: int | None = None
    count: int = 1


class EventBook:
    """The lines of frame after frame: each event is put into words once, and the newest `KEPT` are kept."""

    def __init__(self) -> None:
        self._begin_anew(None)

    def _begin_anew(self, started_at: float | None) -> None:
        self._started_at = started_at
        self._last_event = -1
        self._last_eviction = -1
        self._lines: list[EventLine] = []

    def lines(self, frame: Frame) -> list[EventLine]:
        """The newest first."""
        started_at = None if frame.status is None else frame.status.started_at
        if started_at != self._started_at:
            self._begin_anew(started_at)
        events = [one for one in frame.events or () if one.number > self._last_event]
        blocks = [one for one in frame.evictions or () if one.number > self._last_eviction]
        if events or blocks:
            self._last_event = max([self._last_event, *(one.number for one in events)])
            self._last_eviction = max([self._last_eviction, *(one.number for one in blocks)])
            added = [*self._told(events), *_runs(blocks)]
            self._lines = sorted([*added, *self._lines], key=lambda line: line.at, reverse=True)[:KEPT]
        return self._lines

    def _told(self, events: list[ToldEvent]) -> list[EventLine]:
        """Batches of evictions say less than the blocks themselves, where these are known."""
        knows_blocks = self._last_eviction >= 0
        return [_line(one) for one in events if not (knows_blocks and one.type == "evictions")]


def event_lines(frame: Frame) -> list[EventLine]:
    """Of one frame alone, the newest first."""
    return EventBook().lines(frame)


def newest_events(frame: Frame, most: int) -> list[EventLine]:
    """The last so many, the newest first."""
    return [_line(one) for one in reversed((frame.events or ())[-most:])]


def _runs(blocks: list[EvictedBlock]) -> list[EventLine]:
    """A line for the blocks that one session lost to another at a time by one rule."""
    alike = sorted(blocks, key=lambda one: (*map(str, _kind_of(one)), one.number))
    return [_eviction(list(run)) for _, run in groupby(alike, _kind_of)]


def _kind_of(one: EvictedBlock) -> tuple[Any, ...]:
    return int(one.at), one.worker, one.owner, one.cause_session, one.rule, one.region


def _eviction(run: list[EvictedBlock]) -> EventLine:
    last = run[-1]
    awaited = sum(one.awaited for one in run)
    taker = "itself" if last.cause == "same_session" else last.cause_session or "nobody in particular"
    age = min(one.age_seconds for one in run)
    said = f"{last.owner or 'nobody'} lost {figures.plural(len(run), 'block')} of {last.region or '?'} to {taker}, "
    said += f"unused for {figures.seconds(age)}, by {last.rule or 'age alone'}"
    if awaited:
        said += f"; {awaited} of them a waiting request wanted"
    return EventLine(
        key=f"evicted {run[0].number}",
        at=last.at,
        kind="evicted",
        level="watch" if awaited else "info",
        words=said,
        session=last.owner,
        request=last.cause_request,
        worker=last.worker,
        count=len(run),
    )


def _line(told: ToldEvent) -> EventLine:
    event = told.event
    level, said = _said(told.type, event)
    return EventLine(
        key=f"event {told.number} {told.at}",
        at=told.at,
        kind=told.type,
        level=level,
        words=said,
        session=event.get("session"),
        request=event.get("request"),
        worker=event.get("worker"),
        count=event.get("count") or event.get("blocks") or 1,
    )


def _said(kind: str, event: dict[str, Any]) -> tuple[str, str]:
    """Its level, and its words."""
    try:
        return _KINDS[kind](event)
    except KeyError:
        # A type, or a shape of one, that this console does not know.
        return "info", "  ".join(f"{name} {value}" for name, value in event.items() if name != "type")


def _phase(event: dict[str, Any]) -> tuple[str, str]:
    return ("info" if event["phase"] == "running" else "watch"), f"the box is in {event['phase']}"


def _worker(event: dict[str, Any]) -> tuple[str, str]:
    phase, error = event["phase"], event["error"]
    level = "info" if phase in ("running", "starting") else "bad" if phase == "failed" else "watch"
    said = f"worker {event['worker']} is {phase}, {figures.plural(event['restarts'], 'restart')}"
    return level, f"{said}: {error}" if error else said


def _started(event: dict[str, Any]) -> tuple[str, str]:
    prompt, cached = event["prompt_tokens"], event["cached_tokens"]
    share = figures.share(cached / prompt if prompt else None)
    return "info", f"read {figures.short(cached)} of {figures.short(prompt)} from cache, {share}, on {event['worker']}"


def _finished(event: dict[str, Any]) -> tuple[str, str]:
    outcome = event["outcome"]
    tokens = f"{figures.short(event['completion_tokens'])} tokens"
    first = f"the first after {figures.seconds(event['first_token_seconds'])}"
    said = f"{outcome} after {figures.seconds(event['total_seconds'])}: {tokens}, {first}"
    return ("bad" if outcome == "failed" else "info"), said


def _cancelled(event: dict[str, Any]) -> tuple[str, str]:
    return "watch", f"{event['by']} cancelled it in {event['phase']}, {event['completion_tokens']:,} tokens generated"


def _evictions(event: dict[str, Any]) -> tuple[str, str]:
    owners = ", ".join(f"{name} {count}" for name, count in event["owners"].items()) or "nobody by name"
    said = f"{figures.plural(event['blocks'], 'block')} had to go from worker {event['worker']}: {owners}"
    return ("watch" if event["awaited"] else "info"), said


def _policy(event: dict[str, Any]) -> tuple[str, str]:
    version = "" if event["version"] is None else f" (version {event['version']})"
    return "watch", f"policy {event['name']}{version} is active, by {event['author'] or 'nobody by name'}"


def _hint(event: dict[str, Any]) -> tuple[str, str]:
    said = f"{event['verb']} for {event['session']} {event['change']}"
    return "info", f"{said}: {event['effect']}" if event["effect"] else said


def _drops(event: dict[str, Any]) -> tuple[str, str]:
    return "bad", f"{event['count']:,} {event['what']} found no room and are lost"


def _grouped(event: dict[str, Any]) -> tuple[str, str]:
    return "info", f"{event['count']:,} more {event['of']} within {figures.seconds(event['seconds'])}"


def _missed(event: dict[str, Any]) -> tuple[str, str]:
    count = event["count"]
    return "bad", "the box was started anew" if count is None else f"{figures.plural(count, 'event')} went unheard"


_KINDS = {
    "phase": _phase,
    "worker": _worker,
    "request_started": _started,
    "request_finished": _finished,
    "request_cancelled": _cancelled,
    "evictions": _evictions,
    "policy": _policy,
    "hint": _hint,
    "drops": _drops,
    "grouped": _grouped,
    "missed": _missed,
}
