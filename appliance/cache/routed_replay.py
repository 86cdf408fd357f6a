"""What other policies would have done with a box's own record: each worker's cache replayed with the requests that it
served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.contender import Contender
from appliance.cache.errors import TraceError
from appliance.cache.replay import Progress, replay
from appliance.cache.timeline import Accounting, timeline
from appliance.cache.trace import Trace
from appliance.cache.yardsticks import Yardstick, yardstick_hits

OPTIMUM = "optimum"
SPANS = 60
"""Of equal length, in which hit rates are told."""
MOST_SESSIONS = 100
"""Told one by one: those that compute longest."""


class Pace(NamedTuple):
    """What computing takes: so many seconds for a request, and for each of its tokens."""

    fixed_seconds: float
    seconds_per_token: float


class WorkerRecord(NamedTuple):
    """The requests that one worker served, in a cache of `capacity_blocks`. Only those that arrived from
    `measured_from` seconds on count; those before fill the cache."""

    worker: int
    capacity_blocks: int
    trace: Trace
    measured_from: float


class SessionOutcome(NamedTuple):
    session: str
    requests: int
    prompt_tokens: int
    hit_tokens: int
    prefill_seconds: float


@dataclass(frozen=True, slots=True)
class RoutedOutcome:
    """Of all workers. `evicted_blocks` are those of the whole record, `None` for the optimum; `sessions` those that
    compute longest; `hit_rates` those of `SPANS` spans from the first to the last request that counts, `None` where
    there was none."""

    contender: str
    requests: int
    prompt_tokens: int
    hit_tokens: int
    prefill_seconds: float
    evicted_blocks: int | None
    evictions_by_region: dict[str, int] | None
    sessions: tuple[SessionOutcome, ...]
    hit_rates: tuple[float | None, ...]

    @property
    def hit_rate(self) -> float | None:
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else None


def steps(records: Sequence[WorkerRecord], contenders: Sequence[Contender]) -> int:
    """How many requests `routed_replay` reports to its `progress` in all."""
    return sum(len(record.trace) for record in records) * (len(contenders) + 1)


def routed_replay(
    records: Sequence[WorkerRecord], contenders: Sequence[Contender], pace: Pace, progress: Progress = lambda _: None
) -> list[RoutedOutcome]:
    """One outcome for each contender, in order, and the optimum as the last. Routing stays as it was, and a request
    takes as long as it took. Raises `TraceError` where there is no request to measure."""
    if not any((record.trace.arrival_seconds >= record.measured_from).any() for record in records):
        raise TraceError("the record holds no request of that time")
    return [*(_played(records, contender, pace, progress) for contender in contenders), _best(records, pace, progress)]


def _played(records: Sequence[WorkerRecord], contender: Contender, pace: Pace, progress: Progress) -> RoutedOutcome:
    hits: list[NDArray[np.int64]] = []
    evictions: dict[str, int] = {}
    for record in records:
        blocks = _idle_blocks(record)
        found = replay(record.trace, contender, blocks, Accounting.IDLE, progress=progress)
        hits.append(found.hit_blocks)
        for region, count in found.evictions_by_region.items():
            evictions[region] = evictions.get(region, 0) + count
    return _outcome(contender.name, records, hits, pace, evictions)


def _best(records: Sequence[WorkerRecord], pace: Pace, progress: Progress) -> RoutedOutcome:
    hits = []
    for record in records:
        events = timeline(record.trace, Accounting.IDLE)
        hits.append(yardstick_hits(record.trace, events, Yardstick.OPTIMUM, _idle_blocks(record)))
        progress(len(record.trace))
    return _outcome(OPTIMUM, records, hits, pace, None)


def _idle_blocks(record: WorkerRecord) -> int:
    """What the cache has for blocks that nobody uses: all but what running prompts hold, over time."""
    trace = record.trace
    if len(trace) == 0:
        return record.capacity_blocks
    seconds = float(trace.end_seconds.max() - trace.arrival_seconds.min())
    busy = float((np.diff(trace.offsets) * (trace.end_seconds - trace.arrival_seconds)).sum())
    running = round(busy / seconds) if seconds > 0 else 0
    return max(record.capacity_blocks - running, 1)


def _outcome(
    name: str,
    records: Sequence[WorkerRecord],
    hits: Sequence[NDArray[np.int64]],
    pace: Pace,
    evictions: dict[str, int] | None,
) -> RoutedOutcome:
    rows = [row for record, hit_blocks in zip(records, hits, strict=True) for row in _rows(record, hit_blocks)]
    sessions = _by_session([row[1:] for row in rows], pace)
    return RoutedOutcome(
        name,
        len(rows),
        sum(session.prompt_tokens for session in sessions),
        sum(session.hit_tokens for session in sessions),
        sum(session.prefill_seconds for session in sessions),
        None if evictions is None else sum(evictions.values()),
        evictions,
        tuple(sessions[:MOST_SESSIONS]),
        _over_time(rows),
    )


def _over_time(rows: Sequence[tuple[float, str, int, int]]) -> tuple[float | None, ...]:
    arrivals = np.array([row[0] for row in rows])
    length = float(np.ptp(arrivals)) or 1.0
    spans = np.minimum((arrivals - arrivals.min()) / length * SPANS, SPANS - 1).astype(np.int64)
    prompt = np.bincount(spans, [row[2] for row in rows], SPANS)
    hit = np.bincount(spans, [row[3] for row in rows], SPANS)
    return tuple(found / asked if asked else None for asked, found in zip(prompt.tolist(), hit.tolist(), strict=True))


def _rows(record: WorkerRecord, hit_blocks: NDArray[np.int64]) -> Iterable[tuple[float, str, int, int]]:
    """Arrival, session, prompt tokens and hit tokens of each measured request. The last token is always computed."""
    trace = record.trace
    measured = np.flatnonzero(trace.arrival_seconds >= record.measured_from)
    prompt = trace.prompt_tokens[measured]
    hit = np.minimum(hit_blocks[measured] * trace.block_tokens, np.maximum(prompt - 1, 0))
    names = [trace.session_names[number] for number in trace.session[measured].tolist()]
    return zip(trace.arrival_seconds[measured].tolist(), names, prompt.tolist(), hit.tolist(), strict=True)


def _by_session(rows: Sequence[tuple[str, int, int]], pace: Pace) -> list[SessionOutcome]:
    """The one that computes longest comes first."""
    found: dict[str, SessionOutcome] = {}
    for session, prompt, hit in rows:
        before = found.get(session, SessionOutcome(session, 0, 0, 0, 0.0))
        seconds = pace.fixed_seconds + (prompt - hit) * pace.seconds_per_token
        found[session] = SessionOutcome(
            session,
            before.requests + 1,
            before.prompt_tokens + prompt,
            before.hit_tokens + hit,
            before.prefill_seconds + seconds,
        )
    return sorted(found.values(), key=lambda each: (-each.prefill_seconds, each.session))
