"""The last minutes as curves."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from msgspec import Struct

from appliance.tui.trail import KEPT_SECONDS, Sample, at_steps, growths, hit_rates


class HistoryCurve(Struct, frozen=True):
    """`values` in `unit`, `at` in seconds since 1970; `None` is unknown. `high` is the most there can be, where there
    is such."""

    name: str
    unit: str
    high: float | None
    at: list[float]
    values: list[float | None]


Values = Callable[[list[Sample], float, int], list[float | None]]


def _growth(counter: str) -> Values:
    return lambda samples, step, steps: growths(samples, step, steps, attrgetter(counter))


def _at_steps(field: str) -> Values:
    return lambda samples, step, steps: at_steps(samples, step, steps, attrgetter(field))


CURVES: Final[tuple[tuple[str, str, float | None, Values], ...]] = (
    ("read from cache", "share", 1.0, hit_rates),
    ("prompt tokens/s", "tokens/s", None, _growth("prompt_tokens")),
    ("generated tokens/s", "tokens/s", None, _growth("completion_tokens")),
    ("first token, p50", "ms", None, _at_steps("ttft_p50_ms")),
    ("evicted blocks/s", "blocks/s", None, _growth("evicted")),
    ("requests at work", "requests", None, _at_steps("active")),
    ("requests waiting", "requests", None, _at_steps("waiting")),
)
"""Name, unit, the most there can be, and where its values come from."""


def history(samples: list[Sample], step_seconds: float, steps: int | None = None) -> list[HistoryCurve] | None:
    """At the last `steps` multiples of a step, all there are if not said; `None` where nothing is known."""
    if len(samples) < 2:
        return None
    steps = round(KEPT_SECONDS / step_seconds) if steps is None else steps
    at = [one or 0.0 for one in at_steps(samples, step_seconds, steps, attrgetter("at"))]
    return [HistoryCurve(name, unit, high, at, of(samples, step_seconds, steps)) for name, unit, high, of in CURVES]
