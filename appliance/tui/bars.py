"""Shares of a whole as one bar; each part has a pattern of its own beside its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.segment import Segment
from rich.style import Style

from appliance.tui import ink
from appliance.tui.line import Line

FULL: Final = "█"
EMPTY: Final = "·"


class Part(NamedTuple):
    amount: float
    pattern: str
    style: Style


class Kind(NamedTuple):
    """How a source of tokens looks everywhere."""

    name: str
    pattern: str
    style: Style


GPU: Final = Kind("gpu", "█", ink.GPU)
HOST: Final = Kind("host", "▓", ink.HOST)
DISK: Final = Kind("disk", "▒", ink.DISK)
REMOTE: Final = Kind("remote", "▞", ink.REMOTE)
COMPUTED: Final = Kind("computed", "░", ink.COMPUTED)
KINDS: Final = (GPU, HOST, DISK, REMOTE, COMPUTED)


def kind_of(tier: str) -> Kind:
    return next((kind for kind in KINDS if kind.name == tier), GPU)


def stacked(parts: Sequence[Part], width: int, total: float | None = None) -> Line:
    """A bar `width` cells long, of which each part takes its share of `total` (the sum, unless told); what is left is
    dotted. A part that is there has a cell at least, while there are enough."""
    whole = sum(part.amount for part in parts) if total is None else total
    cells = _cells([part.amount for part in parts], whole, width)
    bar = [Segment(part.pattern * count, part.style) for part, count in zip(parts, cells, strict=True) if count]
    rest = width - sum(cells)
    return [*bar, Segment(EMPTY * rest, ink.QUIET)] if rest else bar


def fill(used: float, held: float, total: float, width: int, kind: Kind) -> Line:
    """How full a tier is: what is in it and, at the left and solid, what of it cannot go now."""
    free = max(used - held, 0)
    return stacked([Part(held, FULL, kind.style), Part(free, "▒", kind.style)], width, total)


def _cells(amounts: Sequence[float], total: float, width: int) -> list[int]:
    """Whole cells whose sum is that of the exact lengths, by largest remainder."""
    if total <= 0:
        return [0] * len(amounts)
    exact = [max(amount, 0) / total * width for amount in amounts]
    cells = [max(int(length), 1) if amount > 0 else 0 for amount, length in zip(amounts, exact, strict=True)]
    wanted = min(round(sum(exact)) or int(any(cells)), width)
    by_remainder = sorted(range(len(exact)), key=lambda place: exact[place] - cells[place], reverse=True)
    for place in by_remainder:
        if sum(cells) < wanted:
            cells[place] += 1
    while sum(cells) > wanted and max(cells, default=0) > 0:
        cells[cells.index(max(cells))] -= 1
    return cells
