"""The box at a glance: a verdict in words, what was read from cache, how fast, what the tiers hold, who works."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from msgspec import Struct

from appliance.api.views import BoxStatus, RateView, WorkerView
from appliance.tui.frame import Frame
from appliance.tui.machine import Load
from appliance.tui.models.events import EventLine, newest_events
from appliance.tui.models.verdict import Verdict, verdict
from appliance.tui.trail import Sample, per_second, window

WINDOWS: Final = (("10 s", 10.0), ("1 m", 60.0), ("10 m", 600.0))
FLOW_SECONDS: Final = 10.0
FILLING_SECONDS: Final = 60.0
HAPPENED: Final = 20
_COUNTERS: Final = ("prompt_tokens", "cached_tokens", "host_tokens", "disk_tokens", "remote_tokens")


class ReadRate(Struct, frozen=True):
    """Prompt tokens of a window: all, those read from each tier, and those computed. All `None`: the window is longer
    than what has been seen, or there was no request yet."""

    window: str
    prompt_tokens: int | None
    gpu_tokens: int | None = None
    host_tokens: int | None = None
    disk_tokens: int | None = None
    remote_tokens: int | None = None
    computed_tokens: int | None = None

    @property
    def cached_tokens(self) -> int | None:
        if self.prompt_tokens is None or self.computed_tokens is None:
            return None
        return self.prompt_tokens - self.computed_tokens

    @property
    def share(self) -> float | None:
        return (
            self.cached_tokens / self.prompt_tokens if self.prompt_tokens and self.cached_tokens is not None else None
        )


class TierFill(Struct, frozen=True):
    """A tier in blocks. Flows in bytes a second: `writes` into it, `reads` out of it to the tier above. `full_in`:
    seconds until it is full at the pace of the last minute; `None`: full, not filling, or unknown."""

    tier: str
    worker: int | None
    blocks: int | None
    used: int | None
    held: int | None
    bytes: int | None
    writes: float | None = None
    reads: float | None = None
    full_in: float | None = None


class WorkerLine(Struct, frozen=True):
    id: int
    phase: str
    devices: list[str]
    running: int
    kv_usage: float | None
    in_step: bool
    restarts: int
    load: Load | None


class Overview(Struct, frozen=True):
    """Seconds since 1970 in `at`; `tokens_per_second` are generated ones. `reuse`: prompt tokens read from cache since
    the start for each one that had to be computed and written. `misses`: why those were computed that were, in tokens
    since the start."""

    at: float
    verdict: Verdict
    reads: list[ReadRate]
    reuse: float | None
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    loop_lag_p99_ms: float | None
    active: int
    waiting: int
    oldest_seconds: float | None
    finished: int
    failed: int
    tokens_per_second: float | None
    tiers: list[TierFill]
    workers: list[WorkerLine]
    misses: dict[str, int]
    happened: list[EventLine]


def overview(frame: Frame, samples: list[Sample]) -> Overview | None:
    """`None` while the box has said nothing yet."""
    status = frame.status
    if status is None:
        return None
    whole = status.cache_since_start
    computed = whole.prompt_tokens - whole.cached_tokens
    return Overview(
        at=frame.at,
        verdict=verdict(frame, samples),
        reads=[
            _read_rate("last request", status.cache_last_request),
            *(_of_window(samples, status, *one) for one in WINDOWS),
            _read_rate("since start", whole),
        ],
        reuse=whole.cached_tokens / computed if computed > 0 else None,
        ttft_p50_ms=status.latency.ttft_p50_ms,
        ttft_p99_ms=status.latency.ttft_p99_ms,
        itl_p50_ms=status.latency.itl_p50_ms,
        itl_p99_ms=status.latency.itl_p99_ms,
        loop_lag_p99_ms=status.latency.loop_lag_p99_ms,
        active=status.requests.active,
        waiting=status.queue.waiting,
        oldest_seconds=status.queue.oldest_seconds,
        finished=status.requests.finished,
        failed=status.requests.failed,
        tokens_per_second=per_second(samples, FLOW_SECONDS, attrgetter("completion_tokens")),
        tiers=_tiers(frame, status, samples),
        workers=[_worker(worker, frame.loads.get(worker.id)) for worker in status.workers],
        misses=dict(sorted(status.misses.tokens.items(), key=lambda one: -one[1])),
        happened=newest_events(frame, HAPPENED),
    )


def _of_window(samples: list[Sample], status: BoxStatus, name: str, seconds: float) -> ReadRate:
    """The box itself knows its last minute, also what was before this console came."""
    if name == "1 m":
        return _read_rate(name, status.cache_last_minute)
    span = window(samples, seconds)
    if span is None:
        return ReadRate(name, None)
    first, last = span
    return _split(name, *(getattr(last, counter) - getattr(first, counter) for counter in _COUNTERS))


def _read_rate(name: str, rate: RateView | None) -> ReadRate:
    if rate is None:
        return ReadRate(name, None)
    return _split(name, *(getattr(rate, counter) for counter in _COUNTERS))


def _split(name: str, prompt: int, cached: int, host: int, disk: int, remote: int) -> ReadRate:
    return ReadRate(name, prompt, cached - host - disk - remote, host, disk, remote, prompt - cached)


def _tiers(frame: Frame, status: BoxStatus, samples: list[Sample]) -> list[TierFill]:
    """What the cache itself tells, else what the status tells."""
    if frame.cache is not None:
        block_bytes = status.host.bytes / status.host.rows if status.host is not None and status.host.rows else None
        return [
            _flowing(
                TierFill(one.tier, one.worker, one.blocks, one.used, one.held, one.bytes),
                samples,
                block_bytes,
                frame.cache.block_tokens,
            )
            for one in frame.cache.tiers
            if one.used is not None
        ]
    gpus = [
        TierFill("gpu", worker.id, worker.kv_blocks_total, worker.kv_blocks_indexed, None, None)
        for worker in status.workers
    ]
    below = [("host", status.host), ("disk", status.disk)]
    return [*gpus, *(TierFill(name, None, t.rows, t.used, t.held, t.bytes) for name, t in below if t is not None)]


def _flowing(tier: TierFill, samples: list[Sample], block_bytes: float | None, block_tokens: int) -> TierFill:
    """A tier with what flows in and out of it, where the samples tell."""
    if block_bytes is None or tier.tier == "gpu":
        return tier
    is_host = tier.tier == "host"
    stored = per_second(samples, FLOW_SECONDS, attrgetter("host_stored" if is_host else "disk_written"))
    read = per_second(samples, FLOW_SECONDS, attrgetter("host_tokens" if is_host else "disk_promoted"))
    filling = per_second(samples, FILLING_SECONDS, attrgetter("host_used" if is_host else "disk_used"))
    free = (tier.blocks or 0) - (tier.used or 0)
    return TierFill(
        tier.tier,
        tier.worker,
        tier.blocks,
        tier.used,
        tier.held,
        tier.bytes,
        writes=None if stored is None else stored * block_bytes,
        reads=None if read is None else read * block_bytes / (block_tokens if is_host else 1),
        full_in=free / filling if filling and filling > 0 and free > 0 else None,
    )


def _worker(worker: WorkerView, load: Load | None) -> WorkerLine:
    return WorkerLine(
        worker.id,
        worker.phase,
        worker.devices,
        worker.running_requests,
        worker.kv_usage,
        worker.index_in_step,
        worker.restarts,
        load,
    )
