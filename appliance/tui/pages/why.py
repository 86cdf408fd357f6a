"""Why a request was not read from cache: the answer of the box, over the screen that asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen

from appliance.api.request_views import DivergenceView, Why
from appliance.tui import figures, ink
from appliance.tui.line import Line, beside, clean, heading, words, wrapped
from appliance.tui.models.requests import request_line
from appliance.tui.pages.ranges import legend, prompt_bar
from appliance.tui.widgets.drawing import Drawing


class WhyDialog(ModalScreen[None]):
    CSS = """
    WhyDialog { align: center middle; }
    WhyDialog > VerticalScroll { width: 94%; height: 90%; border: round ansi_cyan; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[Any]] = [("escape,q,enter", "dismiss", "close")]

    def __init__(self, why: Why) -> None:
        super().__init__()
        self._why = why

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = clean(self._why.request.id)
            box.border_subtitle = "esc"
            yield Drawing(id="why")

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = max(self.size.width * 94 // 100 - 6, 20)
        lines = list(why_lines(self._why, width))
        drawing = self.query_one(Drawing)
        drawing.styles.height = len(lines)
        drawing.draw(lambda _width, _height: lines)


def why_lines(why: Why, width: int) -> Iterator[Line]:
    """What was asked, the prompt as a bar, each finding with its advice, and diverging text side by side."""
    line = request_line(why.request)
    yield from (words(part) for part in wrapped(clean(why.asked), width))
    if line.ranges:
        yield prompt_bar(line.ranges, width)
        yield legend(line.ranges)
    for one in why.findings:
        yield []
        place = f"{one.start:,} … {one.start + one.tokens:,}"
        yield heading(f"{one.tokens:,} tokens", width, place)
        style = ink.GOOD if one.reason is None else ink.PLAIN
        yield from (words((part, style)) for part in wrapped(clean(one.text), width))
        if one.seconds is not None and one.seconds >= 0.01:
            yield words((f"computing them took {figures.seconds(one.seconds)}", ink.QUIET))
        if one.advice is not None:
            yield from (words(("→ " + part, ink.NAME)) for part in wrapped(clean(one.advice), width - 2))
    for split in why.request.ranges:
        if split.divergence is not None:
            yield from _divergence(split.divergence, width)


def _divergence(one: DivergenceView, width: int) -> Iterator[Line]:
    half = (width - 3) // 2
    where = f" in {clean(one.place)}" if one.place else ""
    yield []
    yield heading(f"first difference: token {one.token:,}{where}", width)
    yield from beside(_side("before", one.before, half), _side("now", one.now, half), width)


def _side(name: str, text: str | None, width: int) -> list[Line]:
    said = "not kept (state.record_text)" if text is None else text
    return [words((name, ink.QUIET)), *(words(part) for part in wrapped(clean(said), width))]
