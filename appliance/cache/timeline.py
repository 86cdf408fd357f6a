"""In which order a recorded trace begins and ends its requests, and what of the memory counts meanwhile."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from appliance.cache.trace import Trace


class Accounting(StrEnum):
    ALL = "all"
    """Every block counts, also those of running requests, which may be evicted. Each request is decided in one instant,
    at its arrival, with its stop reason already known: simple, comparable with other simulators, and too kind."""
    IDLE = "idle"
    """The capacity is for idle blocks only; running requests have memory of their own. A session is judged when its
    response has ended, by what is known then."""


def timeline(trace: Trace, accounting: Accounting) -> NDArray[np.int64]:
    """Events in order: request * 2 where it begins, request * 2 + 1 where it ends."""
    requests = np.arange(len(trace))
    if accounting is Accounting.ALL:
        return np.arange(2 * len(trace))
    times = np.concatenate([trace.arrival_seconds, trace.end_seconds])
    events = np.concatenate([2 * requests, 2 * requests + 1])
    # At one instant requests go in their order, so that one without duration begins before it ends.
    return np.asarray(events[np.lexsort((events, times))])


def most_running_blocks(trace: Trace, events: NDArray[np.int64]) -> int:
    """The largest sum of the prompts that run at one time."""
    changes = np.diff(trace.offsets)[events >> 1] * np.where(events & 1, -1, 1)
    return int(np.cumsum(changes).max(initial=0))
