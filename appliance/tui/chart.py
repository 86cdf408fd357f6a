"""Curves of dots: two columns and four rows of them in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_BRAILLE: Final = 0x2800
# The dots of a cell's left and right column, from its bottom up.
_LEFT: Final = (0x40, 0x04, 0x02, 0x01)
_RIGHT: Final = (0x80, 0x20, 0x10, 0x08)
_BARS: Final = "▁▂▃▄▅▆▇█"


def area(values: Sequence[float | None], width: int, height: int, high: float) -> list[str]:
    """The newest `2 × width` values as filled columns, the newest at the right; what is above `high` fills its column.

    A known value has one dot at least, an unknown one (`None`) none.
    """
    rows = [[_BRAILLE] * width for _ in range(height)]
    newest = values[-2 * width :]
    for place, value in enumerate(newest, 2 * width - len(newest)):
        if value is None:
            continue
        column, dots = place // 2, _LEFT if place % 2 == 0 else _RIGHT
        level = 1 if high <= 0 else min(max(round(value / high * height * 4), 1), height * 4)
        for dot in range(level):
            rows[height - 1 - dot // 4][column] |= dots[dot % 4]
    return ["".join(map(chr, row)).replace(chr(_BRAILLE), " ") for row in rows]


def sparkline(values: Sequence[float | None], width: int, high: float = 1.0) -> str:
    """The newest `width` values, one cell each; unknown is a blank."""
    newest = values[-width:]
    top = len(_BARS) - 1
    bars = [" " if one is None else _BARS[min(max(round(one / high * top), 0), top)] for one in newest]
    return "".join(bars).rjust(width)
