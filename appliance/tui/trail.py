"""The last minutes as numbers: one sample a frame, for curves and for rates over a window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from appliance.api.views import BoxStatus
from appliance.tui.frame import Frame

KEPT_SECONDS: Final = 900.0
MAX_SAMPLES: Final = 4000


class Sample(NamedTuple):
    """Counters since the box started, and what held at this moment."""

    at: float
    started_at: float
    prompt_tokens: int
    cached_tokens: int
    host_tokens: int
    disk_tokens: int
    remote_tokens: int
    completion_tokens: int
    requests: int
    evicted: int
    host_used: int
    host_stored: int
    disk_used: int
    disk_written: int
    disk_promoted: int
    misses: Mapping[str, int]
    thrashed: int
    ttft_p50_ms: float | None
    active: int
    waiting: int


class Trail:
    """Bounded. A box that started anew begins a new one: its counters do too."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, frame: Frame) -> None:
        """No-op for a frame in which the box did not answer, and for one of the past."""
        if frame.status is None or frame.lost is not None or frame.past_of is not None:
            return
        sample = sample_of(frame.at, frame.status)
        if self._samples and self._samples[-1].started_at != sample.started_at:
            self._samples.clear()
        if self._samples and sample.at <= self._samples[-1].at:
            return
        self._samples.append(sample)
        while sample.at - self._samples[0].at > KEPT_SECONDS:
            self._samples.popleft()

    def until(self, at: float) -> list[Sample]:
        """The samples up to this moment, the oldest first."""
        return [sample for sample in self._samples if sample.at <= at]


def window(samples: Sequence[Sample], seconds: float) -> tuple[Sample, Sample] | None:
    """The first and the last sample of the last so many seconds; `None` before there are two that span it, or all but
    a tenth of it."""
    if not samples:
        return None
    last = samples[-1]
    inside = next((place for place, one in enumerate(samples) if one.at >= last.at - seconds), 0)
    first = samples[max(inside - 1, 0)] if samples[inside].at > last.at - seconds * 0.9 else samples[inside]
    return (first, last) if last.at - first.at >= seconds * 0.9 else None


def per_second(samples: list[Sample], seconds: float, counter: Callable[[Sample], int]) -> float | None:
    """How fast a counter grew over the last so many seconds, or what there is of them; `None` before two samples."""
    if len(samples) < 2:
        return None
    first, last = window(samples, seconds) or (samples[0], samples[-1])
    return (counter(last) - counter(first)) / (last.at - first.at)


def hit_rates(samples: list[Sample], step_seconds: float, steps: int) -> list[float | None]:
    """The share read from cache in each of the last `steps` spans; `None` in those without a prompt."""
    return [
        (last.cached_tokens - first.cached_tokens) / (last.prompt_tokens - first.prompt_tokens)
        if last.prompt_tokens > first.prompt_tokens
        else None
        for first, last in _spans(samples, step_seconds, steps)
    ]


def growths(
    samples: list[Sample], step_seconds: float, steps: int, counter: Callable[[Sample], int]
) -> list[float | None]:
    """How much a counter grew a second, in each of the last `steps` spans."""
    return [
        (counter(last) - counter(first)) / (last.at - first.at) if last.at > first.at else None
        for first, last in _spans(samples, step_seconds, steps)
    ]


def at_steps(
    samples: list[Sample], step_seconds: float, steps: int, value: Callable[[Sample], float | None]
) -> list[float | None]:
    """What held at the end of each of the last spans."""
    return [value(last) for _, last in _spans(samples, step_seconds, steps)]


def _spans(samples: list[Sample], step_seconds: float, steps: int) -> list[tuple[Sample, Sample]]:
    """The samples at the edges of the last spans. Edges stand at whole multiples of a step, so that a curve moves by
    whole steps instead of flickering."""
    if len(samples) < 2:
        return []
    end = samples[-1].at // step_seconds
    edges: dict[float, Sample] = {}
    for sample in samples:
        number = sample.at // step_seconds
        if number >= end - steps:
            edges[number] = sample
    return list(pairwise(edges[number] for number in sorted(edges)))


def sample_of(at: float, status: BoxStatus) -> Sample:
    requests, host, disk = status.requests, status.host, status.disk
    return Sample(
        at=at,
        started_at=status.started_at,
        prompt_tokens=status.cache_since_start.prompt_tokens,
        cached_tokens=status.cache_since_start.cached_tokens,
        host_tokens=status.cache_since_start.host_tokens,
        disk_tokens=status.cache_since_start.disk_tokens,
        remote_tokens=status.cache_since_start.remote_tokens,
        completion_tokens=status.completion_tokens,
        requests=requests.finished + requests.failed + requests.aborted,
        evicted=sum(kind.blocks for kind in status.evictions.by_kind),
        host_used=0 if host is None else host.used,
        host_stored=0 if host is None else host.stored,
        disk_used=0 if disk is None else disk.used,
        disk_written=0 if disk is None else disk.written,
        disk_promoted=0 if disk is None else disk.promoted,
        misses=status.misses.tokens,
        thrashed=status.misses.thrashed,
        ttft_p50_ms=status.latency.ttft_p50_ms,
        active=requests.active,
        waiting=status.queue.waiting,
    )
