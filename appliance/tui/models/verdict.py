"""The state of the box in one sentence: the worst that holds, else how well its cache serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.api.views import BoxStatus
from appliance.tui import figures
from appliance.tui.frame import Frame
from appliance.tui.trail import Sample, window

SLOW_LOOP_MS: Final = 100.0
LONG_WAIT_SECONDS: Final = 5.0
LOW_SHARE: Final = 0.4
ENOUGH_TOKENS: Final = 2000
WINDOW_SECONDS: Final = 60.0
THRASHED_SHARE: Final = 0.05
MISSED_SHARE: Final = 0.15
DIVERGED_SHARE: Final = 0.2
"""Of a minute's prompt tokens, from which on it is worth a word."""
HELD_SHARE: Final = 0.95
WAS_THERE: Final = ("routed_elsewhere", "preempted", "tier_failed")
"""Reasons for which tokens were computed that were in some cache."""


class Level(StrEnum):
    """From best to worst."""

    GOOD = "good"
    IDLE = "idle"
    WATCH = "watch"
    BAD = "bad"


class Verdict(Struct, frozen=True):
    """The worst in `words`; `others` hold too."""

    level: Level
    words: str
    others: list[Verdict] = []


def verdict(frame: Frame, samples: Sequence[Sample] = ()) -> Verdict:
    """Of a frame in which the box has said something. `samples` lead to it; what needs a minute of them is not said
    before."""
    if frame.lost is not None:
        return Verdict(Level.BAD, frame.lost)
    if frame.status is None:
        return Verdict(Level.IDLE, "no answer yet")
    troubles = sorted(_troubles(frame.status, samples), key=lambda one: one.level is not Level.BAD)
    if troubles:
        return Verdict(troubles[0].level, troubles[0].words, troubles[1:])
    return _how_it_serves(frame.status)


def _troubles(status: BoxStatus, samples: Sequence[Sample]) -> Iterator[Verdict]:
    if status.phase != "running":
        yield Verdict(
            Level.WATCH, f"the box is in {status.phase}" + (f": {status.activity}" if status.activity else "")
        )
    for worker in status.workers:
        if worker.phase in ("failed", "stopped") and status.phase == "running":
            yield Verdict(Level.BAD, f"worker {worker.id} has {worker.phase}: {worker.last_error or 'no reason told'}")
        elif worker.phase == "restarting":
            yield Verdict(Level.WATCH, f"worker {worker.id} is being started again: {worker.last_error or 'it ended'}")
        elif worker.phase == "running" and not worker.index_in_step:
            yield Verdict(Level.WATCH, f"worker {worker.id}: the router's view of its cache has lost step")
    yield from _pressure(status)
    yield from _fullness(status)
    yield from _reading(status, samples)


def _pressure(status: BoxStatus) -> Iterator[Verdict]:
    queue, lag = status.queue, status.latency.loop_lag_p99_ms
    if queue.waiting and (queue.oldest_seconds or 0) >= LONG_WAIT_SECONDS:
        waiting = figures.plural(queue.waiting, "request")
        yield Verdict(
            Level.WATCH, f"{waiting} wait for a worker, the first for {figures.seconds(queue.oldest_seconds)}"
        )
    if lag is not None and lag >= SLOW_LOOP_MS:
        yield Verdict(Level.WATCH, f"the serving loop is slow: others wait {figures.milliseconds(lag)} for it (p99)")
    if status.disk is not None and status.disk.pid is None:
        yield Verdict(Level.WATCH, "the disk tier's keeper does not run")


def _fullness(status: BoxStatus) -> Iterator[Verdict]:
    """A full tier is as it should be; one that can let nothing go is not."""
    for worker in status.workers:
        if worker.kv_usage is not None and worker.kv_usage >= HELD_SHARE:
            held = f"what runs there holds {figures.share(worker.kv_usage)} of its blocks"
            yield Verdict(Level.WATCH, f"worker {worker.id} is near full: {held}")
    host = status.host
    if host is not None and host.rows and host.held / host.rows >= HELD_SHARE:
        share = figures.share(host.held / host.rows)
        yield Verdict(Level.WATCH, f"the host tier is near full: {share} of its blocks cannot go")


def _reading(status: BoxStatus, samples: Sequence[Sample]) -> Iterator[Verdict]:
    """What of the last minute's prompts could have been read; else only that it was little."""
    found = list(_missing(window(samples, WINDOW_SECONDS)))
    yield from found
    rate = status.cache_last_minute
    if not found and rate.hit_rate is not None and rate.hit_rate < LOW_SHARE and rate.prompt_tokens >= ENOUGH_TOKENS:
        yield Verdict(
            Level.WATCH,
            f"only {figures.share(rate.hit_rate)} of the last minute's {figures.short(rate.prompt_tokens)} prompt "
            "tokens were read from cache",
        )


def _missing(span: tuple[Sample, Sample] | None) -> Iterator[Verdict]:
    if span is None:
        return
    first, last = span
    prompt = last.prompt_tokens - first.prompt_tokens
    if prompt < ENOUGH_TOKENS:
        return
    read = last.cached_tokens - first.cached_tokens
    thrashed = last.thrashed - first.thrashed
    missed = sum(_growth(first, last, reason) for reason in WAS_THERE)
    diverged = _growth(first, last, "diverged")
    if thrashed >= THRASHED_SHARE * prompt:
        share = figures.share(thrashed / prompt)
        yield Verdict(Level.WATCH, f"thrash: {share} of the last minute's prompt was evicted and needed within 60 s")
    if missed >= MISSED_SHARE * prompt:
        could = f"{figures.share((read + missed) / prompt)} was in a cache"
        yield Verdict(Level.WATCH, f"the last minute read {figures.share(read / prompt)} where {could}")
    if diverged >= DIVERGED_SHARE * prompt:
        share = figures.share(diverged / prompt)
        yield Verdict(Level.WATCH, f"a client busts its cache: {share} of the last minute had changed (keys 3, c)")


def _growth(first: Sample, last: Sample, reason: str) -> int:
    return last.misses.get(reason, 0) - first.misses.get(reason, 0)


def _how_it_serves(status: BoxStatus) -> Verdict:
    rate = status.cache_last_minute
    if rate.hit_rate is not None:
        share, of = figures.share(rate.hit_rate), f"its {figures.short(rate.prompt_tokens)} prompt tokens"
        read = f"the last minute read {share} of {of} from cache"
        return Verdict(Level.GOOD, f"all is well: {read}" if rate.hit_rate >= LOW_SHARE else read)
    if status.requests.active:
        return Verdict(Level.GOOD, f"all is well: {figures.plural(status.requests.active, 'request')} at work")
    return Verdict(Level.IDLE, "idle: no prompt was read in the last minute")
