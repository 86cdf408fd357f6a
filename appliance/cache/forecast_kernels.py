"""What sessions are worth, worked out in one call: dozens of small steps of numpy's cost more than the sessions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.buckets import forget_lowest
from appliance.cache.kernel import entry, kernel
from appliance.cache.layout import Rows
from appliance.cache.rows import address_of, header_at, session_at

_ROUNDING_SECONDS = 1e-6

Floats = NDArray[np.float64]


CHUNK = 64
"""Sessions that are looked at together, if the soonest of them may be worth something else by now."""


class Idle(NamedTuple):
    """A row for each session: requests it runs, when its last response ended, what it is worth in each bin of ages,
    and until when what was told of it last holds; and a row for each chunk, until when that of none changes."""

    running: NDArray[np.int64]
    ended_seconds: Floats
    curves: Floats
    until_seconds: Floats
    chunk_until_seconds: Floats


@entry
def tell(header: Rows, idle: Idle, edges_seconds: Floats, now_seconds: float) -> None:
    """Tells an eviction core what its sessions are worth that may be worth something else by now. `edges_seconds` are
    those of the bins, each session's first one taking all that is younger too.

    An idle session that owns no block is left alone until its next request: before that it comes to own none.
    """
    t = address_of(header)
    count = header_at(t, 0).num_sessions
    is_changed = False
    for chunk in range((count + CHUNK - 1) // CHUNK):
        if idle.chunk_until_seconds[chunk] > now_seconds:
            continue
        soonest = math.inf
        for session in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, count)):
            if idle.until_seconds[session] <= now_seconds:
                if idle.running[session] == 0 and session_at(t, session).num_owned == 0:
                    idle.until_seconds[session] = math.inf
                    continue
                keep = _look_at(idle, session, edges_seconds, now_seconds)
                is_changed |= keep != session_at(t, session).keep
                session_at(t, session).keep = keep
            soonest = min(soonest, idle.until_seconds[session])
        idle.chunk_until_seconds[chunk] = soonest
    if is_changed:
        forget_lowest(t)


@kernel
def _look_at(idle: Idle, session: int, edges_seconds: Floats, now_seconds: float) -> float:
    """What the session is worth now."""
    ended = idle.ended_seconds[session]
    age_bin = max(0, np.searchsorted(edges_seconds, now_seconds - ended, side="right") - 1)
    next_edge = edges_seconds[age_bin + 1] if age_bin + 1 < len(edges_seconds) else math.inf
    idle.until_seconds[session] = ended + next_edge - _ROUNDING_SECONDS
    return math.inf if idle.running[session] > 0 else idle.curves[session, age_bin]


@entry
def count_gap(
    returns: Floats, exposure_seconds: Floats, edges_seconds: Floats, away_seconds: float, returned: bool
) -> None:
    """Adds to a row's counts a session that came back after so long, or was given up."""
    for age_bin in range(len(returns)):
        spent = away_seconds - edges_seconds[age_bin]
        if spent < 0:
            break
        exposure_seconds[age_bin] += min(spent, edges_seconds[age_bin + 1] - edges_seconds[age_bin])
        if returned and edges_seconds[age_bin] <= away_seconds < edges_seconds[age_bin + 1]:
            returns[age_bin] += 1


@entry
def posterior(
    prior_returns: Floats, prior_exposure: Floats, prior_hazards: Floats, returns: Floats, exposure: Floats
) -> Floats:
    """Hazards, from what was known before and what was seen; as before where nobody was exposed."""
    hazards = prior_hazards.copy()
    for age_bin in range(len(hazards)):
        exposed = prior_exposure[age_bin] + exposure[age_bin]
        if exposed > 0:
            hazards[age_bin] = (prior_returns[age_bin] + returns[age_bin]) / exposed
    return hazards
