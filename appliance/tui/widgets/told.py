"""An answer of the box over the screen that asked: lines as wide as there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from appliance.tui.line import Line, clean
from appliance.tui.widgets.drawing import Drawing


class Told(ModalScreen[None]):
    """Draws `lines`, anew when the terminal gets another size."""

    CSS = """
    Told { align: center middle; }
    Told > VerticalScroll { width: 94%; height: 90%; border: round ansi_cyan; padding: 0 1; }
    """
    SCOPED_CSS = False  # else it would hold for none of those that inherit it
    BINDINGS: ClassVar[list[Any]] = [("escape,q,enter", "dismiss", "close")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def lines(self, width: int) -> Iterator[Line]:
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = clean(self._title)
            box.border_subtitle = "esc"
            yield Drawing()

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        lines = list(self.lines(max(self.size.width * 94 // 100 - 6, 20)))
        drawing = self.query_one(Drawing)
        drawing.styles.height = len(lines)
        drawing.draw(lambda _width, _height: lines)
