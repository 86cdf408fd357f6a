"""A part of the screen that a function draws."""

from __future__ import annotations

from collections.abc import Callable

from textual.strip import Strip

from appliance.tui.line import Line
from appliance.tui.widgets.painted import Painted, strip_of

Draw = Callable[[int, int], list[Line]]
"""Lines for a width and a height in cells; at most so many are shown."""


class Drawing(Painted):
    DEFAULT_CSS = "Drawing { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._draw: Draw | None = None

    def draw(self, draw: Draw) -> None:
        """From now on."""
        self._draw = draw
        self.repaint()

    def paint(self, width: int, height: int) -> list[Strip]:
        lines = [] if self._draw is None else self._draw(width, height)
        return [strip_of(line, width) for line in lines[:height]]


class FocusedDrawing(Drawing, can_focus=True):
    """Has its page hear keys, where there is no list to hear them."""
