"""How long an idle session stays away, from a hazard that is constant within each age bin.

Everything here is about one curve: `hazards_per_second[i]` holds between `edges_seconds[i]` and the next edge; after
the last edge nobody returns. The unit of time is the second since the session's last response ended.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.cache.kernel import entry, kernel

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
    # What is transcendental is numpy's: its last bit is another one, and it decides between sessions of equal worth.
    exponents = _exponents(hazards_per_second, edges_seconds)
    return _life(hazards_per_second, edges_seconds, np.expm1(-exponents[:2]), np.exp(-exponents[2]))


@entry
def _exponents(hazards_per_second: Floats, edges_seconds: Floats) -> Floats:
    """Hazard times time for each edge: from there to the next; at the horizon from there, inside the bin in which that
    lies; and cumulated until there."""
    last = len(edges_seconds) - 1
    exponents = np.zeros((3, last + 1))
    at = 0
    for i in range(last + 1):
        if i < last:
            exponents[0, i] = hazards_per_second[i] * (edges_seconds[i + 1] - edges_seconds[i])
            exponents[2, i + 1] = exponents[2, i] + exponents[0, i]
        end = edges_seconds[i] + HORIZON_SECONDS
        while at < last and edges_seconds[at + 1] <= end:
            at += 1
        if at < last:
            exponents[1, i] = hazards_per_second[at] * (end - edges_seconds[at])
    return exponents


@entry
def _life(hazards: Floats, edges_seconds: Floats, negative: Floats, away: Floats) -> Floats:
    """`negative` is e^-x - 1 of the first two rows of `_exponents`, `away` e^-x of the third."""
    last = len(edges_seconds) - 1
    spent, life = np.zeros(last + 1), np.full(last + 1, HORIZON_SECONDS)
    for i in range(last):
        width = edges_seconds[i + 1] - edges_seconds[i]
        spent[i + 1] = spent[i] + _stay(hazards[i], width, negative[0, i]) * away[i]
    at = 0
    for i in range(last + 1):
        end = edges_seconds[i] + HORIZON_SECONDS
        while at < last and edges_seconds[at + 1] <= end:
            at += 1
        hazard = hazards[at] if at < last else 0.0
        stay = _stay(hazard, end - edges_seconds[at], negative[1, i])
        if away[i] > 0:
            life[i] = (spent[at] + away[at] * stay - spent[i]) / away[i]
    return life


@kernel
def _stay(hazard_per_second: float, width_seconds: float, negative: float) -> float:
    """∫ exp(-h·t) dt over the width; `negative` is e^(-h·width) - 1."""
    return -negative / hazard_per_second if hazard_per_second * width_seconds > 1e-9 else width_seconds


def _mean_stay(hazards_per_second: Floats, widths_seconds: Floats) -> Floats:
    """∫ exp(-h·t) dt over each width."""
    exponents = hazards_per_second * widths_seconds
    quotient = np.divide(-np.expm1(-exponents), hazards_per_second, out=widths_seconds.copy(), where=exponents > 1e-9)
    return np.asarray(quotient)
