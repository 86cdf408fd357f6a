"""What happened, in words: the box's events, and evictions with what they were, who lost them and to whom."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from msgspec import Struct

from appliance.api.eviction_page import EvictedBlock
from appliance.tui import figures
from appliance.tui.event_feed import ToldEvent
from appliance.tui.frame import Frame


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


def event_lines(frame: Frame) -> list[EventLine]:
    """The newest first."""
    told = [_line(one) for one in frame.events or ()]
    # Batches of evictions say less than the blocks themselves, where these are known.
    evicted = _evicted(frame.evictions or ())
    if evicted:
        told = [line for line in told if line.kind != "evictions"]
    return sorted([*told, *evicted], key=lambda line: line.at, reverse=True)


def _evicted(blocks: tuple[EvictedBlock, ...]) -> list[EventLine]:
    """A line for each run of blocks that one session lost to another by one rule."""

    def kind(one: EvictedBlock) -> tuple[Any, ...]:
        return int(one.at), one.worker, one.owner, one.cause_session, one.rule, one.region

    return [_eviction(list(run)) for _, run in groupby(sorted(blocks, key=lambda one: (*map(str, kind(one)),)), kind)]


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
    "evictions": _evictions,
    "policy": _policy,
    "hint": _hint,
    "drops": _drops,
    "grouped": _grouped,
    "missed": _missed,
}
