"""Hazard curves of returning sessions, one a row, learned from the box's own gaps on top of the shipped ones.

A row's hazard in a bin is (prior returns + seen returns) / (prior exposure + seen exposure): the posterior mean when
the prior is a gamma distribution worth `PRIOR_SESSIONS` sessions.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError, InvalidForecast
from appliance.cache.forecast_kernels import count_gap, posterior
from appliance.cache.hint import Hint
from appliance.cache.residual_life import (
    exposure_seconds,
    hazards_from_survival,
    mean_residual_life,
    survival,
)

PRIOR_SESSIONS = 60.0
"""The shipped rows count as much as so many observed gaps each."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """Turns a session's three numbers into a row: a weighted sum, cut into buckets; `cuts` ascend."""

    base: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]
    cuts: tuple[float, ...]

    def bucket(self, numbers: Sequence[float | None]) -> int:
        """A number that is not known yet counts as the mean."""
        score = self.base
        for number, mean, deviation, weight in zip(numbers, self.mean, self.deviation, self.weight, strict=True):
            if number is not None:
                score += weight * (number - mean) / deviation
        return bisect_left(self.cuts, score)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is shipped: the age bins, a score for each class of stop reason, and a hazard curve for each bucket."""

    edges_seconds: Floats
    tool_use: Score
    other: Score
    hazards_per_second: Floats

    def row(self, waits_for_tool: bool, numbers: Sequence[float | None]) -> int:
        if waits_for_tool:
            return self.tool_use.bucket(numbers)
        return len(self.tool_use.cuts) + 1 + self.other.bucket(numbers)


def shipped_prior() -> Prior:
    return read_prior(json.loads((files("appliance.cache") / "forecast_prior.json").read_text()))


def read_prior(facts: Mapping[str, Any]) -> Prior:
    scores = {
        name: Score(score["base"], *(tuple(score[key]) for key in ("mean", "deviation", "weight", "cuts")))
        for name, score in facts["classes"].items()
    }
    edges, hazards = np.array(facts["age_edges_seconds"]), np.array(facts["hazards_per_second"])
    return Prior(edges, scores["tool_use"], scores["other"], hazards)


class ReturnTable:
    """Rows of hazard curves. A row's `keep` curve is 1 / mean residual life at the start of each age bin."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        edges = prior.edges_seconds
        exposure = np.stack([exposure_seconds(hazards, edges) for hazards in prior.hazards_per_second])
        self._prior_exposure_seconds = PRIOR_SESSIONS * exposure
        self._prior_returns = self._prior_exposure_seconds * prior.hazards_per_second
        self._returns = np.zeros_like(prior.hazards_per_second)
        self._exposure_seconds = np.zeros_like(prior.hazards_per_second)
        self._curves: dict[int, Floats] = {}

    @property
    def observed_gaps(self) -> int:
        """Returns seen since the table was made, restored ones included."""
        return int(self._returns.sum())

    def observe(self, row: int, away_seconds: float, *, returned: bool) -> None:
        """A session of this row came back after so long, or is given up after so long."""
        count_gap(self._returns[row], self._exposure_seconds[row], self.prior.edges_seconds, away_seconds, returned)
        self._curves.pop(row, None)

    def keep(self, row: int) -> Floats:
        """The row's curve, per second, by age bin. Not to be written to."""
        if row not in self._curves:
            self._curves[row] = self._curve(self.hazards(row))
        return self._curves[row]

    def keep_given(self, row: int, hint: Hint) -> Floats:
        """The row's curve after Bayes' rule. The hint says when, not whether: the share that never returns stays."""
        edges = self.prior.edges_seconds
        away = survival(self.hazards(row), edges)
        returning = away[:-1] - away[1:]
        weighted = returning * hint.likelihood((edges[:-1] + edges[1:]) / 2)
        total = weighted.sum()
        if total <= 0:
            return self.keep(row)
        returning = weighted * (returning.sum() / total)
        # Summed from the end, so that the small shares far out do not drown in rounding.
        later = np.append(np.cumsum(returning[::-1])[::-1], 0.0) + away[-1]
        return self._curve(hazards_from_survival(later, edges))

    def hazards(self, row: int) -> Floats:
        """Returns per second in each age bin."""
        prior = self._prior_returns[row], self._prior_exposure_seconds[row], self.prior.hazards_per_second[row]
        return posterior(*prior, self._returns[row], self._exposure_seconds[row])

    def to_dict(self) -> dict[str, Any]:
        """What was seen, as plain lists: JSON can hold it."""
        return {"returns": self._returns.tolist(), "exposure_seconds": self._exposure_seconds.tolist()}

    def restore(self, seen: Mapping[str, Any]) -> None:
        """Replaces what was seen. Raises `InvalidForecast`, and changes nothing, if it is not of this table's shape."""
        try:
            returns, exposure = (np.array(seen[key], dtype=np.float64) for key in ("returns", "exposure_seconds"))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidForecast(f"the saved forecast cannot be read: {error}") from error
        if returns.shape != self._returns.shape or exposure.shape != self._returns.shape:
            raise InvalidForecast(f"the saved forecast has shape {returns.shape}, this table has {self._returns.shape}")
        if not (np.isfinite(returns).all() and np.isfinite(exposure).all() and min(returns.min(), exposure.min()) >= 0):
            raise InvalidForecast("the saved forecast holds a count that is negative or not a number")
        self._returns, self._exposure_seconds = returns, exposure
        self._curves.clear()

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        if not self._returns.shape == self._exposure_seconds.shape == self.prior.hazards_per_second.shape:
            raise IntegrityError("return table: its counts have another shape than its prior")
        if min(self._returns.min(), self._exposure_seconds.min()) < 0:
            raise IntegrityError("return table: a count is negative")
        stale = [
            row for row, curve in self._curves.items() if not np.array_equal(curve, self._curve(self.hazards(row)))
        ]
        if stale:
            raise IntegrityError(f"return table: the curves of rows {stale} do not follow from their counts")

    def _curve(self, hazards_per_second: Floats) -> Floats:
        return 1.0 / mean_residual_life(hazards_per_second, self.prior.edges_seconds)
