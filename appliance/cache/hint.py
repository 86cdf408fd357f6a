"""What a client says about how long its session will stay away, as a likelihood over the true duration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Hint(Protocol):
    def likelihood(self, gaps_seconds: Floats) -> Floats:
        """How likely this hint is if the session really comes back after each gap; a common factor does not matter."""


@dataclass(frozen=True, slots=True)
class ExpectedDuration:
    """`nvext.agent_hints.tool_wait_ms`: the tool will take about so long, off by a lognormal factor."""

    seconds: float
    spread: float = 0.7
    """Standard deviation of the logarithm: 0.7 is a factor of two either way in two cases of three. A gap holds more
    than the tool (a permission asked, the client's own work), so even an exact duration is worth no more."""

    def likelihood(self, gaps_seconds: Floats) -> Floats:
        return _closeness(gaps_seconds, self.seconds, self.spread)


@dataclass(frozen=True, slots=True)
class UsualGap:
    """`nvext.agent_hints.iat`: between two requests the client leaves about so long. A mean over other gaps than this
    one, or a constant that a toolkit sends with everything: off by more than a tool's time is, and one in five says
    nothing at all. So what lies far from it becomes five times less likely at most. Both are priors, not measured."""

    seconds: float
    spread: float = 1.2
    error_rate: float = 0.2

    def likelihood(self, gaps_seconds: Floats) -> Floats:
        closeness = _closeness(gaps_seconds, self.seconds, self.spread)
        return np.asarray(self.error_rate + (1 - self.error_rate) * closeness)


@dataclass(frozen=True, slots=True)
class BackWithin:
    """One bit, wrong with a known rate: the session is back within so many seconds."""

    seconds: float
    error_rate: float

    def likelihood(self, gaps_seconds: Floats) -> Floats:
        return np.where(gaps_seconds <= self.seconds, 1 - self.error_rate, self.error_rate)


def _closeness(gaps_seconds: Floats, seconds: float, spread: float) -> Floats:
    """Of each gap to a duration that is off by a lognormal factor; 1 where they are the same."""
    distance = (np.log(np.maximum(gaps_seconds, 1e-3)) - np.log(max(seconds, 1e-3))) / spread
    return np.asarray(np.exp(-0.5 * distance**2))
