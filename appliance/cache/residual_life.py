"""How long an idle session stays away, from a hazard that is constant within each age bin.

Everything here is about one curve: `hazards_per_second[i]` holds between `edges_seconds[i]` and the next edge; after
the last edge nobody returns. The unit of time is the second since the session's last response ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HORIZON_SECONDS = 600.0
"""A return later than this counts as one just then: what is further away cannot be told apart. 100 to 1,200 s are
much the same; without a limit the few sessions that never return would decide alone."""

Floats = NDArray[np.float64]


def survival(hazards_per_second: Floats, edges_seconds: Floats) -> Floats:
    """The share of sessions still away at each edge; 1 at the first."""
    cumulated = np.zeros(len(edges_seconds))
    np.cumsum(hazards_per_second * np.diff(edges_seconds), out=cumulated[1:])
    return np.asarray(np.exp(-cumulated))


def hazards_from_survival(away: Floats, edges_seconds: Floats) -> Floats:
    """The inverse of `survival`. A bin that nobody reaches gets hazard 0."""
    reached = np.maximum(away, np.finfo(np.float64).tiny)
    return np.asarray(np.log(reached[:-1] / reached[1:]) / np.diff(edges_seconds))


def exposure_seconds(hazards_per_second: Floats, edges_seconds: Floats) -> Floats:
    """The mean time that a session spends away inside each bin."""
    stay = _mean_stay(hazards_per_second, np.diff(edges_seconds))
    return np.asarray(stay * survival(hazards_per_second, edges_seconds)[:-1])


def mean_residual_life(hazards_per_second: Floats, edges_seconds: Floats) -> Floats:
    """E[min(time until the return, 600 s)] of a session that is still away at each edge, in seconds.

    Survivors are carried over the full horizon at every age. If those beyond the last edges were dropped instead, a
    session that has been away for an hour would look as if it came back at once.
    """
    spent = np.zeros(len(edges_seconds))
    np.cumsum(exposure_seconds(hazards_per_second, edges_seconds), out=spent[1:])
    away = survival(hazards_per_second, edges_seconds)
    ends = edges_seconds + HORIZON_SECONDS
    bins = np.searchsorted(edges_seconds, ends, side="right") - 1
    at_end = spent[bins] + away[bins] * _mean_stay(np.append(hazards_per_second, 0.0)[bins], ends - edges_seconds[bins])
    reached = away > 0
    life = np.divide(at_end - spent, away, out=np.full(len(away), HORIZON_SECONDS), where=reached)
    return np.asarray(life)


def _mean_stay(hazards_per_second: Floats, widths_seconds: Floats) -> Floats:
    """∫ exp(-h·t) dt over each width."""
    exponents = hazards_per_second * widths_seconds
    quotient = np.divide(-np.expm1(-exponents), hazards_per_second, out=widths_seconds.copy(), where=exponents > 1e-9)
    return np.asarray(quotient)
