"""What an engine's scheduler says of itself, step by step, and how long its steps take as seen from the box."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from appliance.last_minute import LastMinute

RATE_SECONDS: Final = 10


class Batch(NamedTuple):
    """What one step computed."""

    requests: int
    prefill_tokens: int
    decode_tokens: int


class TokenRates(NamedTuple):
    """Tokens a second."""

    prefill: float
    decode: float


@dataclass(slots=True)
class _Second:
    number: int
    prefill_tokens: int = 0
    decode_tokens: int = 0


class EngineLoad:
    """The scheduler's last word: `kv_usage` is the used share of its KV blocks, 0 … 1. Counts outlive the engine's
    restarts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.running = 0
        self.waiting = 0
        self.kv_usage = 0.0
        self.num_steps = 0
        self.prefill_tokens = 0
        self.decode_tokens = 0
        self.preemptions = 0
        self.steps = LastMinute(clock)
        """From the end of a step, or from when there was work, to the end of the next."""
        self.scheduling = LastMinute(clock)
        """The part of a step in which the engine did not wait for its model."""
        self._batch: Batch | None = None
        self._seconds: deque[_Second] = deque(maxlen=RATE_SECONDS + 1)
        self._num_open = 0
        self._since = clock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """While this lasts the engine has work."""
        if not self._num_open:
            self._since = self._clock()
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1

    def started(self) -> None:
        """Another engine: nothing is in it yet."""
        self.running = self.waiting = 0
        self.kv_usage = 0.0
        self._batch = None

    def stepped(self, batch: Batch, model_seconds: float) -> None:
        """A step has ended; the engine waited so much of it for its model."""
        now = self._clock()
        if self._num_open:
            self.steps.add(now - self._since)
            self.scheduling.add(max(now - self._since - model_seconds, 0.0))
        self._since, self._batch = now, batch
        self.num_steps += 1
        self.prefill_tokens += batch.prefill_tokens
        self.decode_tokens += batch.decode_tokens
        second = self._second(int(now))
        second.prefill_tokens += batch.prefill_tokens
        second.decode_tokens += batch.decode_tokens

    @property
    def batch(self) -> Batch | None:
        """Of the step that ended last; `None` while there is no work."""
        return self._batch if self._num_open else None

    @property
    def stalled_seconds(self) -> float | None:
        """Since the last step, or since there was work; `None` while there is none."""
        return self._clock() - self._since if self._num_open else None

    def rates(self) -> TokenRates:
        """Over the last `RATE_SECONDS` whole seconds."""
        this = int(self._clock())
        recent = [second for second in self._seconds if this - RATE_SECONDS <= second.number < this]
        return TokenRates(
            sum(second.prefill_tokens for second in recent) / RATE_SECONDS,
            sum(second.decode_tokens for second in recent) / RATE_SECONDS,
        )

    def _second(self, number: int) -> _Second:
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]
