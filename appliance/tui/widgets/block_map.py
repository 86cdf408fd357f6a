"""Blocks as a field of signs; the cursor stands on one, and what has just gone is shown reversed for a frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip

from appliance.tui import ink
from appliance.tui.line import Line
from appliance.tui.models.blocks import Cell
from appliance.tui.widgets.painted import Painted, strip_of

TONES: Final = (ink.QUIET, ink.GOOD, ink.WARN, ink.NAME, ink.DISK, ink.COMPUTED, Style(color="white"))


class BlockMap(Painted, can_focus=True):
    DEFAULT_CSS = "BlockMap { height: 1fr; }"
    BINDINGS: ClassVar[list[Any]] = [
        Binding("left,h", "step(-1, 0)", "left", id="map.left", key_display="h"),
        Binding("right,l", "step(1, 0)", "right", id="map.right", key_display="l"),
        Binding("down,j", "step(0, 1)", "down", id="map.down", key_display="j"),
        Binding("up,k", "step(0, -1)", "up", id="map.up", key_display="k"),
        Binding("home,g", "edge(0)", "first", id="map.first", key_display="g"),
        Binding("end,G", "edge(1)", "last", id="map.last", key_display="G"),
        Binding("enter", "open", "open", id="map.open"),
    ]

    class Moved(Message):
        pass

    class Opened(Message):
        pass

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self.cursor = 0
        self._signs = ""
        self._tones: list[int] = []
        self._gone: frozenset[int] = frozenset()

    @property
    def room(self) -> int:
        """Cells that there is room for."""
        return self.size.width * self.size.height

    def show(self, cells: Sequence[Cell], gone: frozenset[int]) -> None:
        """`gone` are places that have lost blocks since the frame before."""
        self._signs = "".join([cell.sign for cell in cells])
        self._tones = [cell.tone for cell in cells]
        self._gone = gone
        self.cursor = max(min(self.cursor, len(cells) - 1), 0)
        self.repaint()

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def action_step(self, x: int, y: int) -> None:
        self._move(self.cursor + x + y * max(self.size.width, 1))

    def action_edge(self, last: int) -> None:
        self._move(len(self._signs) - 1 if last else 0)

    def action_open(self) -> None:
        if self._signs:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        self._move(event.y * self.size.width + event.x)

    def _move(self, place: int) -> None:
        if self._signs:
            self.cursor = max(min(place, len(self._signs) - 1), 0)
            self.repaint()
            self.post_message(self.Moved())

    def paint(self, width: int, height: int) -> list[Strip]:
        rows = range(0, min(len(self._signs), width * height), max(width, 1))
        return [self._row(start, width) for start in rows]

    def _row(self, start: int, width: int) -> Strip:
        """One segment for each run of cells that look alike."""
        end = min(start + width, len(self._signs))
        is_marked = start <= self.cursor < end or any(start <= place < end for place in self._gone)
        if is_marked:
            styles = [self._style(place) for place in range(start, end)]
        else:
            styles = [TONES[tone] for tone in self._tones[start:end]]
        line, place = [], start
        for style, run in groupby(styles):
            behind = place + sum(1 for _ in run)
            line.append(Segment(self._signs[place:behind], style))
            place = behind
        return strip_of(line, width)

    def _style(self, place: int) -> Style:
        style = TONES[self._tones[place]]
        if place == self.cursor:
            return style + ink.CURSOR
        return style + ink.ALARM if place in self._gone else style


def field_lines(cells: Sequence[Cell], width: int) -> list[Line]:
    """Without a cursor."""
    rows = (cells[start : start + width] for start in range(0, len(cells), width))
    return [
        [
            Segment("".join(cell.sign for cell in run), TONES[tone])
            for tone, run in groupby(row, key=lambda cell: cell.tone)
        ]
        for row in rows
    ]
