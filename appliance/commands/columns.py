"""Rows of text, in columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

WIDTH: Final = 110


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """One line per row; each column is as wide as its longest text."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def wrapped(text: str, begin: str = "") -> list[str]:
    """A paragraph, its first line behind `begin`. Ids stay whole."""
    behind = " " * len(begin)
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=behind, break_on_hyphens=False)
