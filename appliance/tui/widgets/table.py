"""A list of rows: only those that are seen are drawn, so that its length costs nothing but the sorting."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, ClassVar

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip

from appliance.tui import ink, keymap
from appliance.tui.filters import Test, filter_of
from appliance.tui.line import text_of
from appliance.tui.widgets.grid import Column, Row, fitting
from appliance.tui.widgets.painted import Painted, strip_of


class Table(Painted, can_focus=True):
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
        self.repaint()

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
        names = [None, *(column.name for column, _, _ in fitting(self.columns, self.size.width).columns)]
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
        column = fitting(self.columns, self.size.width).column_at(x)
        if column is not None:
            again = column.name == self.sorted_by
            self.sort(column.name, is_reversed=not self.is_reversed if again else self.is_reversed)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def paint(self, width: int, height: int) -> list[Strip]:
        grid = fitting(self.columns, width)
        strips = [strip_of(grid.header(self.sorted_by, is_reversed=self.is_reversed), width)]
        if not self._rows:
            words = "nothing fits the filter" if self.total else self._empty
            return [*strips, strip_of([Segment(words, ink.QUIET)], width)]
        cursor = ink.CURSOR if self.has_focus else ink.STRONG
        for place in range(self._top, min(self._top + height - 1, len(self._rows))):
            line = grid.line(self._rows[place])
            if place == self._cursor:
                # One look for the whole row: reversed colours side by side would be read as something.
                line = [Segment(text_of(line), cursor)]
            strips.append(strip_of(line, width))
        return strips


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
