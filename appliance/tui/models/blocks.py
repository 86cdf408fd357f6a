"""A worker's blocks as cells: what each cell says under a lens, and in words."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from appliance.api.block_views import BlockMapView
from appliance.tui import figures

EMPTY: Final = "·"
UNKNOWN: Final = "?"
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FILLED: Final = "░▒▓"
_AGES: Final = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 7_200.0, 36_000.0)
"""Seconds; a cell shows how many of these its last use is back."""


class Lens(StrEnum):
    STATE = "state"
    OWNER = "owner"
    REGION = "region"
    AGE = "age"
    REUSE = "reuse"
    WORTH = "worth"


class Cell(NamedTuple):
    """`tone` tells cells apart by colour, 0 … 6; the sign does the same without."""

    sign: str
    tone: int


NOT_KNOWN: Final = Cell(UNKNOWN, 0)


class Key(NamedTuple):
    """What a sign means."""

    sign: str
    tone: int
    words: str


def coarser(view: BlockMapView, most: int) -> BlockMapView:
    """In at most so many cells: of neighbours that become one, the one that was used last speaks for all."""
    number = len(view.filled)
    step = -(-number // most)
    if step <= 1:
        return view
    ages = [math.inf if age is None else age for age in view.age_seconds]
    groups = [range(first, min(first + step, number)) for first in range(0, number, step)]
    newest = [min(group, key=ages.__getitem__) for group in groups]
    return msgspec.structs.replace(
        view,
        blocks_per_cell=view.blocks_per_cell * step,
        **{name: [sum(column[place] for place in group) for group in groups] for name, column in _counts(view)},
        **{name: [column[place] for place in newest] for name, column in _of_last_used(view)},
    )


def _counts(view: BlockMapView) -> list[tuple[str, list[int]]]:
    return [("filled", view.filled), ("held", view.held), ("awaited", view.awaited)]


def _of_last_used(view: BlockMapView) -> list[tuple[str, Sequence[float | None]]]:
    return [
        ("owner", view.owner),
        ("first_token", view.first_token),
        ("region", view.region),
        ("priority", view.priority),
        ("age_seconds", view.age_seconds),
        ("reuse", view.reuse),
    ]


def cells(view: BlockMapView, lens: Lens) -> list[Cell]:
    """One for each of the view's."""
    look, empty = _LENSES[lens](view), Cell(EMPTY, 0)
    return [look(place) if filled else empty for place, filled in enumerate(view.filled)]


def legend(view: BlockMapView, lens: Lens) -> list[Key]:
    """Those that most cells have first."""
    match lens:
        case Lens.OWNER:
            return _named(view.owners, view.owner)
        case Lens.REGION:
            return _named(view.regions, view.region)
        case Lens.STATE:
            return [Key("█", 1, "held"), Key("▲", 2, "awaited"), Key("▓", 3, "filled"), Key(EMPTY, 0, "empty")]
        case Lens.AGE:
            return [
                Key("0", 1, "used within 1 s"),
                Key("4", 3, "3 min"),
                Key("9", 5, "over 10 h"),
                Key("?", 0, "unknown"),
            ]
        case Lens.REUSE:
            return [Key("0", 5, "never found again"), Key("3", 3, "three times"), Key("+", 1, "ten times or more")]
        case Lens.WORTH:
            return [Key("0", 5, "goes first"), Key("3", 3, "30 to 39 of 100"), Key("X", 1, "100")]


def cell_words(view: BlockMapView, place: int) -> list[tuple[str, str]]:
    """All that is known of a cell, by name."""
    first = place * view.blocks_per_cell
    last = min(first + view.blocks_per_cell, view.blocks) - 1
    owner, region, age = view.owner[place], view.region[place], view.age_seconds[place]
    return [
        ("blocks", f"{first:,}" if first == last else f"{first:,} … {last:,}"),
        ("filled", f"{view.filled[place]} of {last - first + 1}"),
        ("held", f"{view.held[place]} by running, {view.awaited[place]} awaited"),
        ("owner", figures.UNKNOWN if owner is None else view.owners[owner]),
        ("region", figures.UNKNOWN if region is None else view.regions[region]),
        ("worth", figures.count(view.priority[place])),
        ("last used", figures.UNKNOWN if age is None else f"{figures.seconds(age)} ago"),
        ("found again", f"{figures.count(view.reuse[place])} times"),
    ]


def owner_of(view: BlockMapView, place: int) -> str | None:
    owner = view.owner[place]
    return None if owner is None else view.owners[owner]


def _state(view: BlockMapView) -> Callable[[int], Cell]:
    awaited, held, filled = view.awaited, view.held, view.filled
    waits, runs, shades = Cell("▲", 2), Cell("█", 1), [Cell(shade, 3) for shade in _FILLED]

    def look(place: int) -> Cell:
        if awaited[place]:
            return waits
        if held[place]:
            return runs
        return shades[min(filled[place] * len(shades) // view.blocks_per_cell, len(shades) - 1)]

    return look


def _lettered(of: Sequence[int | None]) -> Callable[[int], Cell]:
    letters = _letters(of)

    def look(place: int) -> Cell:
        name = of[place]
        return NOT_KNOWN if name is None else letters[name]

    return look


def _letters(of: Sequence[int | None]) -> dict[int, Cell]:
    """The one with most cells is A; there are more names than letters, and the smallest share `…`."""
    common = [name for name, _ in Counter(one for one in of if one is not None).most_common()]
    return {
        name: Cell(_LETTERS[rank] if rank < len(_LETTERS) else "…", 1 + rank % 6) for rank, name in enumerate(common)
    }


def _named(names: Sequence[str], of: Sequence[int | None]) -> list[Key]:
    return [Key(*cell, names[name]) for name, cell in _letters(of).items()]


def _graded(of: Sequence[float | None], grade: Callable[[float], int], most: str) -> Callable[[int], Cell]:
    """By a grade from 0 to 10, where 10 shows `most`."""

    grades = [*(Cell(str(one), _tone(one)) for one in range(10)), Cell(most, _tone(10))]

    def look(place: int) -> Cell:
        value = of[place]
        return NOT_KNOWN if value is None else grades[min(max(grade(value), 0), 10)]

    return look


def _tone(grade: int) -> int:
    return 5 - min(grade // 2, 4)


def _age(view: BlockMapView) -> Callable[[int], Cell]:
    grades = [Cell(str(grade), 1 + grade // 2) for grade in range(len(_AGES) + 1)]

    def look(place: int) -> Cell:
        age = view.age_seconds[place]
        return NOT_KNOWN if age is None else grades[bisect_right(_AGES, age)]

    return look


_LENSES: Final[dict[Lens, Callable[[BlockMapView], Callable[[int], Cell]]]] = {
    Lens.STATE: _state,
    Lens.OWNER: lambda view: _lettered(view.owner),
    Lens.REGION: lambda view: _lettered(view.region),
    Lens.AGE: _age,
    Lens.REUSE: lambda view: _graded(view.reuse, int, "+"),
    Lens.WORTH: lambda view: _graded(view.priority, lambda worth: int(worth // 10), "X"),
}
