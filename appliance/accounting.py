"""What the box has done: tokens read from cache, request outcomes, times to and between tokens."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from appliance.cache.prompt_read import NO_TOKENS, TierTokens
from appliance.eviction_log import EvictionLog
from appliance.token_gaps import TokenGaps

WINDOW_SECONDS = 60.0
SAMPLES = 2048
WAIT_BOUNDS_SECONDS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class PromptRead(NamedTuple):
    """`cached_tokens` of `prompt_tokens` were read from cache, `below` of these from slower tiers than the GPU."""

    prompt_tokens: int
    cached_tokens: int
    below: TierTokens = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Rate:
    """Sums of `PromptRead`."""

    prompt_tokens: int
    cached_tokens: int
    below: TierTokens = NO_TOKENS

    def __add__(self, read: PromptRead) -> Rate:
        prompt_tokens, cached_tokens, below = read
        return Rate(self.prompt_tokens + prompt_tokens, self.cached_tokens + cached_tokens, self.below + below)

    @property
    def hit_rate(self) -> float | None:
        """Share read from cache, 0 … 1; `None` when nothing was asked yet."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(slots=True)
class Outcomes:
    active: int = 0
    finished: int = 0
    failed: int = 0
    aborted: int = 0
    resumed: int = 0


@dataclass(slots=True)
class QueueAccount:
    """How long requests waited for a place on a worker, how many got none and why, how many were set aside.

    `waits` counts those that waited at most each of `WAIT_BOUNDS_SECONDS` and longer than the one before; its last
    entry those that waited longer than all.
    """

    waits: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS_SECONDS) + 1))
    waited_seconds: float = 0.0
    last_waited_seconds: float = 0.0
    """Of the last that had to wait at all."""
    refused: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0

    def taken(self, seconds: float) -> None:
        """A request got its place after so long; 0: at once."""
        self.waits[bisect_left(WAIT_BOUNDS_SECONDS, seconds)] += 1
        self.waited_seconds += seconds
        self.last_waited_seconds = seconds or self.last_waited_seconds


class Accounts:
    """Counts since start and over the last minute. Memory is bounded: at most `SAMPLES` requests are remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_start = Rate(0, 0)
        self._recent: deque[tuple[float, PromptRead]] = deque(maxlen=SAMPLES)
        self._ttft_seconds: deque[float] = deque(maxlen=SAMPLES)
        self.token_gaps = TokenGaps()
        self.last_read: PromptRead | None = None
        self.completion_tokens = 0
        self.outcomes = Outcomes()
        self.stabilised: Counter[str] = Counter()
        self.evictions = EvictionLog()
        self.queue = QueueAccount()
        self.speculations: Counter[str] = Counter()

    def prompt_read(self, read: PromptRead, ttft_seconds: float) -> None:
        self._since_start += read
        self.last_read = read
        self._recent.append((self._clock(), read))
        self._ttft_seconds.append(ttft_seconds)

    def since_start(self) -> Rate:
        return self._since_start

    def last_minute(self) -> Rate:
        oldest = self._clock() - WINDOW_SECONDS
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()
        rate = Rate(0, 0)
        for _, read in self._recent:
            rate += read
        return rate

    def ttft_quantile(self, share: float) -> float | None:
        """The least first-token time, in seconds, that `share` (0 … 1) of the remembered requests stayed within.

        `None` without requests.
        """
        if not self._ttft_seconds:
            return None
        ordered = sorted(self._ttft_seconds)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
