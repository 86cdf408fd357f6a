"""A trace replayed at its recorded times: what each request finds in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.contender import Contender
from appliance.cache.forecast import Forecast
from appliance.cache.simulated_pool import SimulatedPool
from appliance.cache.timeline import Accounting, most_running_blocks, timeline
from appliance.cache.trace import REGIONS, Trace

UNKNOWN = "unknown"

Progress = Callable[[int], None]
"""Told how many requests more have been replayed."""

PROGRESS_EVERY = 256


class ReplayResult(NamedTuple):
    hit_blocks: NDArray[np.int64]
    """Per request, from the start of its prompt on."""
    evictions_by_region: dict[str, int]
    """Evicted blocks by what they were when they were filled; `unknown` where the trace does not say."""


def replay(
    trace: Trace,
    contender: Contender,
    capacity_blocks: int,
    accounting: Accounting,
    *,
    forecast: Forecast | None = None,
    progress: Progress = lambda _: None,
) -> ReplayResult:
    """One contender with one capacity. `forecast` may have learned before, and goes on learning; by default it is the
    shipped one."""
    events = timeline(trace, accounting)
    is_instant = accounting is Accounting.ALL
    size = capacity_blocks if is_instant else capacity_blocks + most_running_blocks(trace, events)
    pool = SimulatedPool(trace, contender, size, forecast)
    hit_blocks = np.zeros(len(trace), dtype=np.int64)
    arrivals, ends = trace.arrival_seconds.tolist(), trace.end_seconds.tolist()
    for number, event in enumerate(events.tolist()):
        request, is_end = event >> 1, event & 1
        arrival, ended = arrivals[request], ends[request]
        if not is_end:
            pool.arrive(request, arrival)
            hit_blocks[request] = pool.begin(request, arrival).hit_blocks
        elif is_instant:
            pool.end(request, arrival, ended)
        else:
            pool.end(request, ended)
            pool.trim(capacity_blocks, ended)
        if number % (2 * PROGRESS_EVERY) == 2 * PROGRESS_EVERY - 1:
            progress(PROGRESS_EVERY)
    progress(len(trace) % PROGRESS_EVERY)
    return ReplayResult(hit_blocks, by_region(pool.evictions_by_region))


def by_region(counts: NDArray[np.int64]) -> dict[str, int]:
    """Regions with a count, by name."""
    names = [*(region.value for region in REGIONS), UNKNOWN]
    return {name: count for name, count in zip(names, counts.tolist(), strict=True) if count}
