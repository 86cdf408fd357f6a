"""A curve with its title, its span and its scale."""

from __future__ import annotations

from rich.segment import Segment

from appliance.tui import ink
from appliance.tui.chart import area
from appliance.tui.line import Line, cell, heading


def curve(
    title: str, values: list[float | None], high: float, top: str, note: str, width: int, height: int
) -> list[Line]:
    rows = area(values, width - 6, height - 1, high)
    marks = [top, *[""] * (len(rows) - 2), "0"] if len(rows) > 1 else [top]
    plot = [
        [Segment(cell(mark, 5, right=True) + " ", ink.QUIET), Segment(row, ink.GPU)]
        for mark, row in zip(marks, rows, strict=True)
    ]
    return [heading(title, width, note), *plot]
