"""How fast a worker computes prompts and reads blocks back, learned from what it did."""

from __future__ import annotations

import math
from typing import NamedTuple

from appliance.cache.prompt_read import NO_TOKENS, TierTokens
from appliance.router.errors import IntegrityError
from appliance.router.index import Tier

PRIOR_TOKENS_PER_SECOND = 4000.0
"""Between two measurements: an 8B shape on an H100 computed 28,000 tokens a second, the demo model on two cores 430."""

PRIOR_FIXED_SECONDS = 0.02
_PRIOR_WEIGHT = 0.05
PRIOR_LONG_TOKENS = 2048
"""The prior is worth a twentieth of a sample without tokens, and another of one with so many."""

MEMORY = 0.98
"""What a sample weighs after the next: the last fifty decide."""

MOST_TIMES_EXPECTED = 4.0
"""One sample may say that prefill takes so many times as long as expected, and no more: a hiccup is no new pace, and a
pace that is really another is found after a few samples all the same."""

_LEAST_SECONDS_PER_TOKEN = 1e-9


class Pace(NamedTuple):
    """Prefill takes `fixed_seconds + computed tokens × seconds_per_token`; reading from a tier so much a token.

    The fixed part is there because a turn that finds all but a few tokens in the cache takes a step all the same:
    taken for prefill, such turns would make a worker look ten times slower than it is at long prompts.
    """

    fixed_seconds: float
    seconds_per_token: float
    load_seconds_per_token: tuple[float, ...]
    """By `Tier`; a tier that nothing was read from yet costs what computing costs. 0 for the GPU."""


class LearnedPace:
    """A line through samples of prefill, old ones forgotten, and a mean for each tier."""

    def __init__(self) -> None:
        self.samples = 0
        self._sums = _sample(0, 0.0, weight=0.0)
        self._loaded: dict[Tier, tuple[float, float]] = {}
        self.pace = self._fit()

    def learn(self, computed_tokens: int, seconds: float, below: TierTokens = NO_TOKENS) -> None:
        """Prefill of so many tokens took so long, without the time spent behind others.

        With tokens of tiers `below` loaded before it, it tells how long that takes, if that is the larger part: what
        computing the rest should have taken is taken off.
        """
        tokens = max(0, computed_tokens)
        if below.total:
            if below.total >= tokens:
                rest = self.pace.fixed_seconds + tokens * self.pace.seconds_per_token
                self._learn_load(below, seconds - rest)
            return
        expected = self.pace.fixed_seconds + tokens * self.pace.seconds_per_token
        seconds = min(max(0.0, seconds), MOST_TIMES_EXPECTED * expected)
        self._sums = _sum(self._sums, _sample(tokens, seconds), MEMORY)
        self.samples += 1
        self.pace = self._fit()

    def _learn_load(self, below: TierTokens, seconds: float) -> None:
        """The time is that of the tier that gave most, less what the others are known to take."""
        shares = {Tier.HOST: below.host, Tier.DISK: below.disk, Tier.REMOTE: below.remote}
        most = max(shares, key=shares.__getitem__)
        tokens = 0
        for tier, share in shares.items():
            if tier is most or tier not in self._loaded:
                tokens += share
            else:
                seconds -= share * self.pace.load_seconds_per_token[tier]
        self.loaded(most, tokens, max(0.0, seconds))

    def loaded(self, tier: Tier, tokens: int, seconds: float) -> None:
        """Reading so many tokens' blocks back from this tier took so long."""
        before_tokens, before_seconds = self._loaded.get(tier, (0.0, 0.0))
        self._loaded[tier] = (MEMORY * before_tokens + tokens, MEMORY * before_seconds + seconds)
        self.pace = self._fit()

    def check_integrity(self) -> None:
        """Raises `IntegrityError` for a pace that cannot be. Does not mutate."""
        fixed, slope, loads = self.pace
        if not (0 < slope < math.inf and 0 <= fixed < math.inf and all(0 <= load < math.inf for load in loads)):
            raise IntegrityError(f"pace: {self.pace} after {self.samples} samples")

    def _fit(self) -> Pace:
        """Least squares; a line through the origin where that would give a pace that cannot be."""
        weight, tokens, seconds, squares, products = _sum(self._sums, _PRIOR_SUMS)
        slope = (weight * products - tokens * seconds) / (weight * squares - tokens * tokens)
        fixed = (seconds - slope * tokens) / weight
        if fixed < 0 or slope <= 0:
            slope, fixed = products / squares, 0.0
        slope = max(slope, _LEAST_SECONDS_PER_TOKEN)
        return Pace(fixed, slope, tuple(self._load_seconds(tier, slope) for tier in Tier))

    def _load_seconds(self, tier: Tier, otherwise: float) -> float:
        if tier is Tier.GPU:
            return 0.0
        tokens, seconds = self._loaded.get(tier, (0.0, 0.0))
        return seconds / tokens if tokens else otherwise


LIKE_SHARE = 0.25
LEAST_SAMPLES = 20
"""Of a worker before it may differ: what the prior and the first few say is no difference of its own."""


class Paces:
    """A pace for each worker, and one for all: a worker that differs from all by less than `LIKE_SHARE` has theirs, and
    so has one of which `LEAST_SAMPLES` were not seen yet.

    Else the noise of measuring would always favour the same one of two like workers.
    """

    def __init__(self) -> None:
        self._all = LearnedPace()
        self._own: dict[int, LearnedPace] = {}
        self._paces: dict[int, Pace] = {}

    def of(self, worker: int) -> Pace:
        return self._paces.get(worker, self._all.pace)

    def learn(self, worker: int, computed_tokens: int, seconds: float, below: TierTokens = NO_TOKENS) -> None:
        """As `LearnedPace.learn`."""
        for pace in (self._all, self._own.setdefault(worker, LearnedPace())):
            pace.learn(computed_tokens, seconds, below)
        self._choose()

    def prefill_seconds(self, tokens: int) -> float:
        """What computing so many tokens takes on a worker of which nothing else is known."""
        fixed, slope, _ = self._all.pace
        return fixed + tokens * slope

    def general(self) -> Pace:
        """That of all workers."""
        return self._all.pace

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        for pace in (self._all, *self._own.values()):
            pace.check_integrity()

    def _choose(self) -> None:
        like = self._all.pace
        self._paces = {worker: own.pace for worker, own in self._own.items() if _differs(own, like)}


def _differs(own: LearnedPace, like: Pace) -> bool:
    return own.samples >= LEAST_SAMPLES and abs(own.pace.seconds_per_token / like.seconds_per_token - 1) >= LIKE_SHARE


_Sums = tuple[float, float, float, float, float]


def _sample(tokens: int, seconds: float, weight: float = 1.0) -> _Sums:
    """What one of them adds to the sums of a fit."""
    return weight, weight * tokens, weight * seconds, weight * tokens * tokens, weight * tokens * seconds


def _sum(sums: _Sums, more: _Sums, memory: float = 1.0) -> _Sums:
    weight, tokens, seconds, squares, products = sums
    return (
        memory * weight + more[0],
        memory * tokens + more[1],
        memory * seconds + more[2],
        memory * squares + more[3],
        memory * products + more[4],
    )


_PRIOR_SUMS = _sum(
    _sample(0, PRIOR_FIXED_SECONDS, _PRIOR_WEIGHT),
    _sample(PRIOR_LONG_TOKENS, PRIOR_FIXED_SECONDS + PRIOR_LONG_TOKENS / PRIOR_TOKENS_PER_SECOND, _PRIOR_WEIGHT),
)
