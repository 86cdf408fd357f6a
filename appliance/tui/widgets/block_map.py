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

WIDEST, TALLEST = 9, 4
CLOSE: Final = 2
"""Cells up to so wide or tall have no gap between them."""


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
        self._tones = b""
        self._gone: frozenset[int] = frozenset()
        self._drawn: dict[int, tuple[tuple[Any, ...], Strip]] = {}
        """By first cell, how a line of cells was drawn, and of what: most look as they did."""

    @property
    def room(self) -> int:
        """Cells that there is room for."""
        return self.size.width * self.size.height

    def show(self, cells: Sequence[Cell], gone: frozenset[int]) -> bool:
        """`gone` are places that have lost blocks since the frame before. Whether anything looks otherwise than so
        far."""
        before = self._signs, self._tones, self._gone
        self._signs = "".join([cell.sign for cell in cells])
        self._tones = bytes([cell.tone for cell in cells])
        self._gone = gone
        self.cursor = max(min(self.cursor, len(cells) - 1), 0)
        self.repaint()
        return before != (self._signs, self._tones, self._gone)

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def action_step(self, x: int, y: int) -> None:
        self._move(self.cursor + x + y * self._columns)

    def action_edge(self, last: int) -> None:
        self._move(len(self._signs) - 1 if last else 0)

    def action_open(self) -> None:
        if self._signs:
            self.post_message(self.Opened())

    def on_click(self, event: events.Click) -> None:
        wide, tall = self._scale
        if event.x < self._columns * wide:
            self._move(event.y // tall * self._columns + event.x // wide)

    def _move(self, place: int) -> None:
        if self._signs:
            self.cursor = max(min(place, len(self._signs) - 1), 0)
            self.repaint()
            self.post_message(self.Moved())

    @property
    def _scale(self) -> tuple[int, int]:
        return scale(len(self._signs), self.size.width, self.size.height)

    @property
    def _columns(self) -> int:
        return max(self.size.width // self._scale[0], 1)

    def paint(self, width: int, height: int) -> list[Strip]:
        wide, tall = scale(len(self._signs), width, height)
        columns = max(width // wide, 1)
        gone_at: dict[int, list[int]] = {}
        for place in sorted(self._gone):
            gone_at.setdefault(place // columns, []).append(place)
        lines: list[Strip] = []
        for row in range(-(-len(self._signs) // columns)):
            strip = self._row(row * columns, columns, wide, width, gone_at.get(row, []))
            lines += [strip] * (tall - (tall > CLOSE)) + [Strip.blank(width)] * (tall > CLOSE)
        return lines

    def _row(self, start: int, columns: int, wide: int, width: int, gone: list[int]) -> Strip:
        """One segment for each run of cells that look alike; the strip of before, if none looks otherwise."""
        end = min(start + columns, len(self._signs))
        cursor = self.cursor if start <= self.cursor < end else None
        look = (self._signs[start:end], self._tones[start:end], cursor, gone, wide, width)
        drawn = self._drawn.get(start)
        if drawn is not None and drawn[0] == look:
            return drawn[1]
        styles = [TONES[tone] for tone in self._tones[start:end]]
        for place in gone if cursor is None else [*gone, cursor]:
            styles[place - start] = self._style(place)
        line, place = [], start
        for style, run in groupby(styles):
            behind = place + sum(1 for _ in run)
            line.append(Segment("".join([_drawn(sign, wide) for sign in self._signs[place:behind]]), style))
            place = behind
        strip = strip_of(line, width)
        self._drawn[start] = look, strip
        return strip

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


def scale(cells: int, width: int, height: int) -> tuple[int, int]:
    """How wide and tall a cell is: as large as there is room for all of them, and rather as wide as two lines are tall;
    one sign where there is no room for more."""
    found = (1, 1)
    for tall in range(1, min(TALLEST, height) + 1):
        for wide in range(tall, min(3 * tall, WIDEST, width) + 1):
            fits = -(-cells // (width // wide)) * tall <= height
            if fits and (wide * tall, -abs(wide - 2 * tall)) > (found[0] * found[1], -abs(found[0] - 2 * found[1])):
                found = (wide, tall)
    return found


def _drawn(sign: str, wide: int) -> str:
    """With a gap behind it where cells are wide enough to be told apart."""
    return sign * (wide - 1) + " " if wide > CLOSE else sign * wide
