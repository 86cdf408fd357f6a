"""A screen as an SVG picture, small enough to keep: one element for each run of cells that look alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

CELL_WIDTH: Final = 8.4
CELL_HEIGHT: Final = 17
BACKGROUND: Final = "#1a1b26"
FOREGROUND: Final = "#c0caf5"
_COLOURS: Final = {
    "black": "#32344a", "red": "#f7768e", "green": "#9ece6a", "yellow": "#e0af68", "blue": "#7aa2f7",
    "magenta": "#ad8ee6", "cyan": "#449dab", "white": "#9699b0",
}  # fmt: skip
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
    'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" fill="{ink}" xml:space="preserve">\n'
    '<rect width="100%" height="100%" fill="{paper}"/>\n'
)


def picture(lines: Sequence[Iterable[Segment]], width: int) -> str:
    """Lines of `width` cells; what is blank is left out."""
    drawn = [element for row, line in enumerate(lines) for element in _row(line, row)]
    size = {"width": width * CELL_WIDTH + 8, "height": len(lines) * CELL_HEIGHT + 8}
    return _HEAD.format(ink=FOREGROUND, paper=BACKGROUND, **size) + "\n".join(drawn) + "\n</svg>\n"


def _row(line: Iterable[Segment], row: int) -> Iterable[str]:
    x = 0
    for text, style in _runs(line):
        cells = cell_len(text)
        yield from _run(text, style, x, row, cells)
        x += cells


def _runs(line: Iterable[Segment]) -> list[tuple[str, Style]]:
    """Neighbours that look alike as one."""
    runs: list[tuple[str, Style]] = []
    for text, style, control in line:
        if control or not text:
            continue
        looks = _looks(style)
        if runs and runs[-1][1] == looks:
            runs[-1] = (runs[-1][0] + text, looks)
        else:
            runs.append((text, looks))
    return runs


def _looks(style: Style | None) -> Style:
    """What a picture shows of a style."""
    if style is None:
        return Style()
    return Style(
        color=style.color, bgcolor=style.bgcolor, bold=style.bold, dim=style.dim, reverse=style.reverse,
        underline=style.underline,
    )  # fmt: skip


def _run(text: str, style: Style, x: int, row: int, cells: int) -> Iterable[str]:
    ink, paper = _colour(style.color, FOREGROUND), _colour(style.bgcolor, BACKGROUND)
    if style.reverse:
        ink, paper = paper, ink
    left, top = 4 + x * CELL_WIDTH, 4 + row * CELL_HEIGHT
    if paper != BACKGROUND:
        yield f'<rect x="{left:g}" y="{top}" width="{cells * CELL_WIDTH:g}" height="{CELL_HEIGHT}" fill="{paper}"/>'
    shown = "" if ink == FOREGROUND else f' fill="{ink}"'
    shown += ' font-weight="bold"' if style.bold else ""
    shown += ' opacity=".6"' if style.dim else ""
    shown += ' text-decoration="underline"' if style.underline else ""
    for start, words in _words(text):
        place = f'x="{left + start * CELL_WIDTH:g}" y="{top + 13}" textLength="{cell_len(words) * CELL_WIDTH:g}"'
        yield f'<text {place} lengthAdjust="spacingAndGlyphs"{shown}>{escape(words)}</text>'


def _words(text: str) -> Iterable[tuple[int, str]]:
    """What is not blank, with its place: at two blanks it is taken apart, so that columns stand where they should
    whatever font there is."""
    for match in re.finditer(r"\S+(?: \S+)*", text):
        yield cell_len(text[: match.start()]), match[0]


def _colour(colour: object, default: str) -> str:
    """The sixteen of a terminal by name, any other as it is."""
    if not isinstance(colour, Color) or colour.is_default:
        return default
    if colour.triplet is not None:
        return colour.triplet.hex
    return _COLOURS.get(colour.name.removeprefix("bright_"), default)
