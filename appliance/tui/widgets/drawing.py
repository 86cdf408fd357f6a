"""A part of the screen drawn line by line: nothing is laid out, nothing is parsed."""

from __future__ import annotations

from collections.abc import Callable

from textual.strip import Strip
from textual.widget import Widget

from appliance.tui.line import Line, fit

Draw = Callable[[int, int], list[Line]]
"""Lines for a width and a height in cells; at most so many are shown."""


class Drawing(Widget):
    """Draws anew when told or resized, and never in between."""

    DEFAULT_CSS = "Drawing { height: 1fr; }"

    def __init__(self, draw: Draw | None = None, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._draw = draw
        self._strips: list[Strip] = []
        self._drawn_for: tuple[int, int] | None = None

    def draw(self, draw: Draw) -> None:
        self._draw = draw
        self._drawn_for = None
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._drawn_for != (width, height):
            lines = [] if self._draw is None else self._draw(width, height)
            self._strips = [strip_of(line, width) for line in lines[:height]]
            self._drawn_for = (width, height)
        strip = self._strips[y] if y < len(self._strips) else Strip.blank(width)
        return strip.apply_style(self.rich_style)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn_for = None


def strip_of(line: Line, width: int) -> Strip:
    return Strip(fit(line, width), width)
