"""What sessions are worth, worked out in one call: dozens of small steps of numpy's cost more than the sessions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.kernel import entry

_ROUNDING_SECONDS = 1e-6

Floats = NDArray[np.float64]


class Idle(NamedTuple):
    """A row for each session: requests it runs, when its last response ended, what it is worth in each bin of ages,
    what was found last, and until when that holds."""

    running: NDArray[np.int64]
    ended_seconds: Floats
    curves: Floats
    kept: Floats
    until_seconds: Floats


@entry
def refresh(idle: Idle, edges_seconds: Floats, now_seconds: float) -> None:
    """Works out anew what is kept of those that may be worth something else by now. `edges_seconds` are those of the
    bins, each session's first one taking all that is younger too."""
    for session in range(len(idle.until_seconds)):
        if idle.until_seconds[session] > now_seconds:
            continue
        ended = idle.ended_seconds[session]
        age_bin = max(0, np.searchsorted(edges_seconds, now_seconds - ended, side="right") - 1)
        is_busy = idle.running[session] > 0
        idle.kept[session] = math.inf if is_busy else idle.curves[session, age_bin]
        next_edge = edges_seconds[age_bin + 1] if age_bin + 1 < len(edges_seconds) else math.inf
        idle.until_seconds[session] = ended + next_edge - _ROUNDING_SECONDS


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
