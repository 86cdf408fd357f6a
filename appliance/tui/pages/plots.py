"""A curve of the history with axes: time of day below, its unit at the left."""

from __future__ import annotations

from typing import Final

from appliance.plots import Axis, Curve, even_ticks, plot
from appliance.tui import figures
from appliance.tui.models.history import HistoryCurve

COLUMNS_PER_TICK: Final = 20


def history_plot(one: HistoryCurve, width: int, height: int, *, is_coloured: bool) -> list[str]:
    """Lines of text."""
    scale, unit = (100.0, "% of prompt tokens") if one.unit == "share" else (1.0, one.unit)
    points = [(at, None if value is None else scale * value) for at, value in zip(one.at, one.values, strict=True)]
    high = one.high or max((value for value in one.values if value is not None), default=0.0) or 1.0
    first, last = one.at[0], max(one.at[-1], one.at[0] + 1.0)
    times = [(at, figures.clock(at)) for at in even_ticks(first, last, max(width // COLUMNS_PER_TICK, 2))]
    levels = [
        (scale * value, figures.short(scale * value) if high * scale >= 4 else f"{scale * value:.2f}")
        for value in even_ticks(0.0, high, 5)
    ]
    x, y = Axis("time", first, last, times), Axis(unit, 0.0, scale * high, levels)
    return plot([Curve(one.name, points)], x, y, width, height, is_coloured=is_coloured)
