"""A part of the screen that is painted line by line; only lines that have changed are sent to the terminal."""

from __future__ import annotations

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from appliance.tui.line import Line, fit


class Painted(Widget):
    """Painted anew when it is told to, or has another size; never in between."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._strips: list[Strip] = []
        self._painted_for: tuple[int, int] | None = None

    def paint(self, width: int, height: int) -> list[Strip]:
        """Its lines; at most `height` are shown, and what is missing is blank."""
        raise NotImplementedError

    def repaint(self) -> None:
        """What is shown has changed."""
        width, height = self.size
        if self._painted_for != (width, height):
            self._painted_for = None
            self.refresh()
            return
        before, self._strips = self._strips, self._painted(width, height)
        changed = [Region(0, y, width, 1) for y in range(height) if before[y] != self._strips[y]]
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._painted_for != (width, height):
            self._strips = self._painted(width, height)
            self._painted_for = (width, height)
        return self._strips[y].apply_style(self.rich_style) if y < height else Strip.blank(width)

    def _painted(self, width: int, height: int) -> list[Strip]:
        strips = self.paint(width, height)[:height]
        return [*strips, *(Strip.blank(width) for _ in range(height - len(strips)))]


def strip_of(line: Line, width: int) -> Strip:
    return Strip(fit(line, width), width)
