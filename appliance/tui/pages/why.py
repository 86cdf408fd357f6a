"""Why a request was not read from cache: the answer of the box, over the screen that asked."""

from __future__ import annotations

from collections.abc import Iterator

from appliance.api.request_views import DivergenceView, Why
from appliance.tui import figures, ink
from appliance.tui.line import Line, beside, clean, heading, words, wrapped
from appliance.tui.models.requests import request_line
from appliance.tui.pages.ranges import legend, prompt_bar
from appliance.tui.widgets.told import Told


class WhyDialog(Told):
    def __init__(self, why: Why) -> None:
        super().__init__(why.request.id)
        self._why = why

    def lines(self, width: int) -> Iterator[Line]:
        return why_lines(self._why, width)


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
