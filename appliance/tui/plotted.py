"""A plot as lines of a screen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from appliance.tui.line import Line, clean


def plotted(lines: Iterable[str]) -> list[Line]:
    """With the colours of `plots.plot`."""
    return [_line(Text.from_ansi(line)) for line in lines]


def _line(text: Text) -> Line:
    cuts = sorted({0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))})
    return [Segment(clean(text.plain[start:end]), _style(text, start)) for start, end in pairwise(cuts)]


def _style(text: Text, place: int) -> Style:
    styles = [one.style for one in text.spans if one.start <= place < one.end and isinstance(one.style, Style)]
    return sum(styles, Style())
