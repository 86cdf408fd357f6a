"""A replay of a box's own record as curves: hit rates over the time that was replayed."""

from __future__ import annotations

from typing import Final

from appliance.api.whatif_views import ContenderRole, WhatIfJob
from appliance.plots import Axis, Curve, even_ticks, plot

ROLE_NAMES: Final[dict[ContenderRole, str]] = {
    "proposed": "this text",
    "active": "active now",
    "lru": "LRU",
    "optimum": "the optimum",
}
PERCENT: Final = Axis("% of prompt tokens")


def whatif_plot(job: WhatIfJob, width: int, height: int, *, is_coloured: bool) -> list[str]:
    """Of a replay that is done. Minutes are counted from its first request that counts."""
    minutes = 0.0 if job.measured is None else job.measured.seconds / 60
    curves = [
        Curve(
            ROLE_NAMES[one.role],
            [
                (minutes * (span + 0.5) / len(one.hit_rates), None if rate is None else 100 * rate)
                for span, rate in enumerate(one.hit_rates)
            ],
        )
        for one in job.outcomes or []
    ]
    ticks = [(place, f"{place:.3g}") for place in even_ticks(0.0, minutes, 5)] if minutes else []
    return plot(curves, Axis("minutes", 0.0, minutes or None, ticks), PERCENT, width, height, is_coloured=is_coloured)
