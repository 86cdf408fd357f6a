"""The forecast, told of sessions by their names: what keeping each idle one is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np

from appliance.cache.errors import IntegrityError
from appliance.cache.forecast import Forecast
from appliance.cache.hint import ExpectedDuration, Hint, UsualGap
from appliance.cache.session_state import TOOL_STOPS
from appliance.conversation import Hints

UNNAMED_AGE_SECONDS: Final = 60.0
"""Blocks of no session count as those of one of which nothing is known and that has been silent for so long."""


class SessionForecast:
    """Sessions are known from their first request until they are forgotten, which is the caller's to do."""

    def __init__(self, forecast: Forecast | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._forecast = Forecast() if forecast is None else forecast
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._spare: list[int] = []
        self._running: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    @property
    def observed_gaps(self) -> int:
        """Returns of sessions that the forecast has learned from, those before a restart included."""
        return self._forecast.table.observed_gaps

    def arrived(self, name: str) -> None:
        """A request of this session came."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = self._spare.pop() if self._spare else len(self._numbers)
        self._running[name] = self._running.get(name, 0) + 1
        self._forecast.request_arrived(number, self._clock())

    def ended(self, name: str, stop_reason: str | None, hints: Hints) -> None:
        """A request that had arrived has ended. Nothing happens when its session was forgotten meanwhile."""
        number = self._numbers.get(name)
        if number is None:
            return
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        waits_for_tool = stop_reason in TOOL_STOPS
        hint = _hint(hints, waits_for_tool=waits_for_tool)
        self._forecast.response_ended(
            number, self._clock(), waits_for_tool=waits_for_tool, hint=hint, is_final=hints.session_final
        )

    def resume(self, name: str, silent_seconds: float, *, waits_for_tool: bool, hints: Hints) -> None:
        """A session as it was before a restart, idle for so long. No-op for one that is known."""
        if name in self._numbers:
            return
        self.arrived(name)
        self._running.pop(name)
        hint = _hint(hints, waits_for_tool=waits_for_tool)
        ended_at = self._clock() - silent_seconds
        self._forecast.response_ended(self._numbers[name], ended_at, waits_for_tool=waits_for_tool, hint=hint)

    def finish(self, name: str) -> None:
        """It is said to be over, once what it still runs has ended; another request takes that back. No-op if
        unknown."""
        number = self._numbers.get(name)
        if number is not None:
            self._forecast.finish(number)

    def forget(self, name: str) -> None:
        """Nothing is expected of it any more, and the table learns that it stayed away. No-op if unknown."""
        number = self._numbers.pop(name, None)
        if number is not None:
            self._running.pop(name, None)
            self._forecast.forget(number, self._clock())
            self._spare.append(number)

    def keeps(self) -> dict[str, float]:
        """What the blocks of each session that has no request are worth now, per second."""
        idle = [name for name in self._numbers if self.is_idle(name)]
        numbers = np.array([self._numbers[name] for name in idle], dtype=np.int64)
        return dict(zip(idle, self._forecast.keep(numbers, self._clock()).tolist(), strict=True))

    def is_idle(self, name: str) -> bool:
        """Whether it is known and has no request."""
        return name in self._numbers and name not in self._running

    def unnamed(self) -> float:
        """What blocks of no session are worth."""
        prior = self._forecast.table.prior
        curve = self._forecast.table.keep(prior.row(waits_for_tool=False, numbers=(None, None, None)))
        return float(curve[np.searchsorted(prior.edges_seconds, UNNAMED_AGE_SECONDS, side="right") - 1])

    def learned(self) -> dict[str, Any]:
        """What is worth keeping over a restart; JSON can hold it."""
        return self._forecast.to_dict()

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Raises `InvalidForecast`, and changes nothing, if it does not fit."""
        self._forecast.restore(learned)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        self._forecast.check_integrity()
        numbers = [*self._numbers.values(), *self._spare]
        if sorted(numbers) != list(range(len(numbers))):
            raise IntegrityError(f"session forecast: numbers {sorted(numbers)} of {len(self._numbers)} sessions")
        if not self._running.keys() <= self._numbers.keys() or min(self._running.values(), default=1) < 1:
            raise IntegrityError("session forecast: a session runs that is not known, or runs nothing")


def _hint(hints: Hints, *, waits_for_tool: bool) -> Hint | None:
    """What a tool takes says more than what lies between requests as a rule."""
    if waits_for_tool and hints.tool_wait_seconds is not None:
        return ExpectedDuration(hints.tool_wait_seconds)
    return None if hints.interarrival_seconds is None else UsualGap(hints.interarrival_seconds)


def batches(keeps: Mapping[str, float], most: int) -> Iterator[dict[str, float]]:
    """The same in pieces of at most `most`; one empty piece when there is nothing."""
    items = iter(keeps.items())
    piece = dict(islice(items, most))
    yield piece
    while piece := dict(islice(items, most)):
        yield piece
