"""A screen for terminals without Unicode: every character becomes one of ASCII, cell by cell."""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_LOOKS_LIKE: Final = {
    "—": "-", "–": "-", "…": "~", "·": ".", "×": "x", "≈": "~", "≤": "<", "≥": ">", "→": ">", "←": "<", "↑": "^",
    "↓": "v", "●": "*", "○": "o", "◆": "*", "▲": "^", "▼": "v", "▶": ">", "◀": "<", "✓": "+", "✗": "x", "⚠": "!",
    "▚": "%", "▞": "%", "▪": "-", "▖": ".", "▗": ".", "▘": "'", "▝": "'", "▙": "#", "▛": "#", "▜": "#", "▟": "#",
    "█": "#", "▓": "%", "▒": "=", "░": ":", "▀": "#", "▄": "#", "▌": "#", "▐": "#", "■": "#", "□": "o",
    "│": "|", "┃": "|", "║": "|", "├": "+", "┤": "+", "└": "+", "┘": "+", "┌": "+", "┐": "+", "┬": "+", "┴": "+",
    "┼": "+", "─": "-", "━": "-", "═": "=", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "▔": "-", "▁": "_", "▂": "_",
    "▃": "=", "▅": "=", "▆": "#", "▇": "#", "▏": "|", "▎": "|", "▊": "|", "▋": "|", "▍": "|", "▉": "#", "▕": "|",
}  # fmt: skip
_BY_DOTS: Final = " ..::||##"


def to_ascii(text: str) -> str:
    """As wide as before."""
    return text if text.isascii() else "".join(map(_ascii, text))


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    if "\u2800" <= character <= "\u28ff":
        return _BY_DOTS[(ord(character) - 0x2800).bit_count()]
    return _LOOKS_LIKE.get(character, "?" * cell_len(character))


class AsciiFilter(LineFilter):
    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 – its base says so
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]
