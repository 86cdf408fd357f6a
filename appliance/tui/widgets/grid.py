"""Rows under columns as lines: which columns there is room for, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.segment import Segment
from rich.style import Style

from appliance.tui import ink
from appliance.tui.filters import Value
from appliance.tui.line import Line, cell, clean, cut

GAP: Final = "  "
_HEADER: Final = ink.QUIET + Style(underline=True)


@dataclass(frozen=True, slots=True)
class Column:
    """`width` in cells; one of a table may be 0: it takes what is left, `least` at the least. A column with a higher
    `rank` goes first where room is short. `show` makes text of a value, `ink` its style."""

    name: str
    width: int
    show: Callable[[Value], str] = lambda value: "—" if value is None else str(value)
    right: bool = False
    rank: int = 0
    least: int = 8
    style: Callable[[Value], Style] = lambda _value: ink.PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """`key` names it for ever: the cursor stays on it. `values` by column. `indent` is its depth in a tree."""

    key: str
    values: tuple[Value, ...]
    indent: int = 0
    style: Style = ink.PLAIN


@dataclass(frozen=True, slots=True)
class Fitting:
    """Columns that there is room for, with their widths and their places among all."""

    columns: tuple[tuple[Column, int, int], ...]

    def header(self, sorted_by: str | None = None, *, is_reversed: bool = False) -> Line:
        sign = "▼" if is_reversed else "▲"
        names = [
            cell(column.name + (sign if column.name == sorted_by else ""), width, right=column.right)
            for column, width, _ in self.columns
        ]
        return [Segment(GAP.join(names), _HEADER)]

    def line(self, row: Row) -> Line:
        line: Line = []
        for column, width, place in self.columns:
            value = row.values[place]
            indent = "  " * row.indent if place == 0 else ""
            text = cell(indent + cut(clean(column.show(value)), width), width, right=column.right)
            line += (Segment(text, column.style(value) + row.style), Segment(GAP, row.style))
        return line[:-1]

    def column_at(self, x: int) -> Column | None:
        left = 0
        for column, width, _ in self.columns:
            if left <= x < left + width:
                return column
            left += width + len(GAP)
        return None


def fitting(columns: Sequence[Column], width: int) -> Fitting:
    """Those of the highest rank go first where room is short; the one without a width takes what is left."""
    kept = list(enumerate(columns))
    while len(kept) > 1 and _needed(kept) > width:
        kept.remove(max(kept, key=lambda one: (one[1].rank, one[0])))
    left = max(width - _needed(kept), 0)
    return Fitting(tuple((column, column.width or column.least + left, place) for place, column in kept))


def grid_lines(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Line]:
    """All of them, under their names."""
    fit = fitting(columns, width)
    return [fit.header(), *map(fit.line, rows)]


def _needed(columns: Sequence[tuple[int, Column]]) -> int:
    return sum((column.width or column.least) + len(GAP) for _, column in columns) - len(GAP)
