"""The state of the box in one sentence: the worst that holds, else how well its cache serves."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.api.views import BoxStatus
from appliance.tui import figures
from appliance.tui.frame import Frame

SLOW_LOOP_MS: Final = 100.0
LONG_WAIT_SECONDS: Final = 5.0
LOW_SHARE: Final = 0.4
ENOUGH_TOKENS: Final = 2000


class Level(StrEnum):
    """From best to worst."""

    GOOD = "good"
    IDLE = "idle"
    WATCH = "watch"
    BAD = "bad"


class Verdict(Struct, frozen=True):
    level: Level
    words: str


def verdict(frame: Frame) -> Verdict:
    """Of a frame in which the box has said something."""
    if frame.lost is not None:
        return Verdict(Level.BAD, frame.lost)
    if frame.status is None:
        return Verdict(Level.IDLE, "no answer yet")
    troubles = sorted(_troubles(frame.status), key=lambda one: one.level is not Level.BAD)
    if troubles:
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        return Verdict(troubles[0].level, troubles[0].words + more)
    return _how_it_serves(frame.status)


def _troubles(status: BoxStatus) -> Iterator[Verdict]:
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
    rate = status.cache_last_minute
    if rate.hit_rate is not None and rate.hit_rate < LOW_SHARE and rate.prompt_tokens >= ENOUGH_TOKENS:
        yield Verdict(
            Level.WATCH,
            f"only {figures.share(rate.hit_rate)} of the last minute's {figures.short(rate.prompt_tokens)} prompt "
            "tokens were read from cache",
        )


def _how_it_serves(status: BoxStatus) -> Verdict:
    rate = status.cache_last_minute
    if rate.hit_rate is not None:
        share, of = figures.share(rate.hit_rate), f"its {figures.short(rate.prompt_tokens)} prompt tokens"
        read = f"the last minute read {share} of {of} from cache"
        return Verdict(Level.GOOD, f"all is well: {read}" if rate.hit_rate >= LOW_SHARE else read)
    if status.requests.active:
        return Verdict(Level.GOOD, f"all is well: {figures.plural(status.requests.active, 'request')} at work")
    return Verdict(Level.IDLE, "idle: no prompt was read in the last minute")
