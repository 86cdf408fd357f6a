"""Lines of a screen: pieces of text with a style, cut and padded to a width in cells."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from appliance.tui import ink

Line = list[Segment]

GAP: Final = 3
"""Between columns."""

# What a client calls itself or its session may hold anything; what a terminal obeys must not reach it.
_OBEYED = (range(32), range(127, 160), range(0x200E, 0x2010), range(0x2028, 0x202F), range(0x2066, 0x206A))
_CONTROL = dict.fromkeys(chain(*_OBEYED), "\N{REPLACEMENT CHARACTER}")


def clean(text: str) -> str:
    """Without the characters that a terminal obeys."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROL)


def words(*parts: str | tuple[str, Style]) -> Line:
    """A line of texts, plain or with a style."""
    return [Segment(part, ink.PLAIN) if isinstance(part, str) else Segment(*part) for part in parts]


def width_of(line: Iterable[Segment]) -> int:
    return sum(piece.cell_length for piece in line)


def fit(line: Iterable[Segment], width: int) -> Line:
    """Exactly so wide: cut, with … at its end, or padded."""
    fitted: Line = []
    left = width
    for piece in line:
        length = piece.cell_length
        if length == 0:
            continue
        if length > left:
            if left > 0:
                fitted.append(Segment(cut(piece.text, left), piece.style))
            elif fitted:
                last = fitted[-1]
                fitted[-1] = Segment(set_cell_size(last.text, cell_len(last.text) - 1) + "…", last.style)
            return fitted
        fitted.append(piece)
        left -= length
    if left > 0:
        fitted.append(Segment(" " * left, ink.PLAIN))
    return fitted


def cut(text: str, width: int) -> str:
    """At most so wide, with … where something is missing."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""


def cell(text: str, width: int, *, right: bool = False) -> str:
    """Exactly so wide."""
    text = cut(text, width)
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def heading(title: str, width: int, note: str = "") -> Line:
    """The title of a part, with a rule to the end of the line; `note` stands at its right."""
    rule = width - cell_len(title) - 1 - (cell_len(note) + 1 if note else 0)
    pieces = [Segment(title, ink.STRONG), Segment(" " + "─" * max(rule, 0), ink.QUIET)]
    return fit([*pieces, Segment(f" {note}", ink.QUIET)] if note else pieces, width)


def beside(left: Sequence[Line], right: Sequence[Line], width: int) -> list[Line]:
    """Two columns of equal width."""
    half = (width - GAP) // 2
    return columns([left, right], [half, width - GAP - half])


def columns(parts: Sequence[Sequence[Line]], widths: Sequence[int]) -> list[Line]:
    """Beside each other, each so wide."""
    space = Segment(" " * GAP, ink.PLAIN)
    rows = zip_longest(*parts, fillvalue=None)
    return [
        [piece for part, width in zip(row, widths, strict=True) for piece in (*fit(part or [], width), space)][:-1]
        for row in rows
    ]


def text_of(line: Iterable[Segment]) -> str:
    return "".join(piece.text for piece in line)


def wrapped(text: str, width: int) -> list[str]:
    """Broken at blanks."""
    return textwrap.wrap(text, max(width, 1)) or [""]
