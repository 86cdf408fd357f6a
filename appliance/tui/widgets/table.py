"""A list of rows: only those that are seen are drawn, so that its length costs nothing but the sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from appliance.tui import ink, keymap
from appliance.tui.filters import Test, Value, filter_of
from appliance.tui.line import Line, cell, clean, cut

GAP = "  "


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


class Table(Widget, can_focus=True):
    """Sorted, filtered and scrolled by keys and mouse. A row that is not there any more leaves the cursor its place."""

    DEFAULT_CSS = "Table { height: 1fr; }"
    BINDINGS: ClassVar[list[Any]] = keymap.TABLE

    class Opened(Message):
        """A row was chosen."""

        def __init__(self, table: Table, row: Row) -> None:
            super().__init__()
            self.table = table
            self.row = row

    class Moved(Opened):
        """The cursor stands on another row."""

    def __init__(self, columns: Sequence[Column], *, empty: str = "nothing yet", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.sorted_by: str | None = None
        self.is_reversed = False
        self.filter_text = ""
        self._empty = empty
        self._test: Test | None = None
        self._all: Sequence[Row] = ()
        self._rows: list[Row] = []
        self._cursor = 0
        self._top = 0

    @property
    def rows(self) -> Sequence[Row]:
        """Those that are shown, in order."""
        return self._rows

    @property
    def total(self) -> int:
        return len(self._all)

    @property
    def row(self) -> Row | None:
        """Where the cursor is."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    def show(self, rows: Sequence[Row]) -> None:
        self._all = rows
        self._arrange()

    def filter(self, text: str) -> None:
        """Show only rows that fit. Raises `FilterError`, changing nothing."""
        self._test = filter_of(text, [column.name for column in self.columns]) if text else None
        self.filter_text = text
        self._arrange()

    def sort(self, name: str | None, *, is_reversed: bool = False) -> None:
        """`None`: as the rows were given."""
        self.sorted_by, self.is_reversed = name, is_reversed
        self._arrange()

    def _arrange(self) -> None:
        key = None if self.row is None else self.row.key
        names = [column.name for column in self.columns]
        rows = list(self._all)
        if self._test is not None:
            rows = [row for row in rows if self._test(dict(zip(names, row.values, strict=True)))]
        if self.sorted_by is not None:
            rows = _in_order(rows, names.index(self.sorted_by), is_reversed=self.is_reversed)
        elif self.is_reversed:
            rows.reverse()
        self._rows = rows
        place = next((number for number, row in enumerate(rows) if row.key == key), self._cursor)
        self._cursor = max(min(place, len(rows) - 1), 0)
        self._scroll()

    def _scroll(self) -> None:
        seen = max(self.size.height - 1, 1)
        self._top = max(min(self._top, self._cursor, len(self._rows) - seen), 0, self._cursor - seen + 1)
        self.refresh()

    def on_resize(self) -> None:
        self._scroll()

    def move_to(self, place: int) -> None:
        self._cursor = max(min(place, len(self._rows) - 1), 0)
        self._scroll()
        if self.row is not None:
            self.post_message(self.Moved(self, self.row))

    def action_move(self, steps: int) -> None:
        self.move_to(self._cursor + steps)

    def action_pages(self, pages: int) -> None:
        self.move_to(self._cursor + pages * max(self.size.height - 2, 1))

    def action_first(self) -> None:
        self.move_to(0)

    def action_last(self) -> None:
        self.move_to(len(self._rows) - 1)

    def action_sort(self) -> None:
        """By the next column; after the last, as the rows were given."""
        names = [None, *(column.name for column, _ in self._fitting(self.size.width)[0])]
        place = names.index(self.sorted_by) if self.sorted_by in names else 0
        self.sort(names[(place + 1) % len(names)], is_reversed=self.is_reversed)

    def action_reverse(self) -> None:
        self.sort(self.sorted_by, is_reversed=not self.is_reversed)

    def action_open(self) -> None:
        if self.row is not None:
            self.post_message(self.Opened(self, self.row))

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            self._sort_at(event.x)
        elif self._top + event.y - 1 < len(self._rows):
            self.move_to(self._top + event.y - 1)
            if event.chain == 2:
                self.action_open()

    def _sort_at(self, x: int) -> None:
        left = 0
        for column, width in self._fitting(self.size.width)[0]:
            if left <= x < left + width:
                again = column.name == self.sorted_by
                self.sort(column.name, is_reversed=not self.is_reversed if again else self.is_reversed)
            left += width + len(GAP)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        columns, places = self._fitting(width)
        if y == 0:
            line = self._header(columns)
        elif not self._rows and y == 1:
            line = [Segment("nothing fits the filter" if self.total else self._empty, ink.QUIET)]
        elif self._top + y - 1 < len(self._rows):
            line = self._line(self._rows[self._top + y - 1], columns, places)
        else:
            return Strip.blank(width, self.rich_style)
        strip = Strip(line).adjust_cell_length(width)
        if self._rows and y == self._cursor - self._top + 1:
            strip = strip.apply_style(ink.CURSOR if self.has_focus else ink.STRONG)
        return strip.apply_style(self.rich_style)

    def _header(self, columns: list[tuple[Column, int]]) -> Line:
        sign = "▼" if self.is_reversed else "▲"
        names = [column.name + (sign if column.name == self.sorted_by else "") for column, _ in columns]
        cells = [cell(name, width, right=one.right) for name, (one, width) in zip(names, columns, strict=True)]
        return [Segment(GAP.join(cells), ink.QUIET + Style(underline=True))]

    def _line(self, row: Row, columns: list[tuple[Column, int]], places: list[int]) -> Line:
        line: Line = []
        for (column, width), place in zip(columns, places, strict=True):
            value = row.values[place]
            indent = "  " * row.indent if place == 0 else ""
            text = cell(indent + cut(clean(column.show(value)), width), width, right=column.right)
            line += (Segment(text, column.style(value) + row.style), Segment(GAP, row.style))
        return line

    def _fitting(self, width: int) -> tuple[list[tuple[Column, int]], list[int]]:
        """The columns that there is room for, with their widths, and their places among all."""
        kept = list(enumerate(self.columns))
        while len(kept) > 1 and _needed(kept) > width:
            kept.remove(max(kept, key=lambda one: (one[1].rank, one[0])))
        left = max(width - _needed(kept), 0)
        fitting = [(column, column.width or column.least + left) for _, column in kept]
        return fitting, [place for place, _ in kept]


def _needed(columns: Sequence[tuple[int, Column]]) -> int:
    return sum((column.width or column.least) + len(GAP) for _, column in columns) - len(GAP)


def _in_order(rows: list[Row], place: int, *, is_reversed: bool) -> list[Row]:
    """What is unknown stands last, whichever way round."""
    known = [row for row in rows if row.values[place] is not None]
    unknown = [row for row in rows if row.values[place] is None]
    value = itemgetter(place)
    try:
        known.sort(key=lambda row: value(row.values), reverse=is_reversed)
    except TypeError:
        known.sort(key=lambda row: str(value(row.values)), reverse=is_reversed)
    return known + unknown
