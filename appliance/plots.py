"""Curves with axes, for terminals: drawn by plotext, which is loaded with the first of them (0.2 s)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from string import ascii_lowercase
from typing import NamedTuple

Point = tuple[float, float | None]


class Curve(NamedTuple):
    """`None` is unknown, and interrupts it."""

    name: str
    points: Sequence[Point]


class Axis(NamedTuple):
    """`ticks` are places with what stands there; without them they are numbers at even places. Without `low` and `high`
    all that is known has room."""

    label: str
    low: float | None = None
    high: float | None = None
    ticks: Sequence[tuple[float, str]] = ()


def plot(curves: Sequence[Curve], x: Axis, y: Axis, width: int, height: int, *, is_coloured: bool = False) -> list[str]:
    """Lines of text, with the terminal's colours where `is_coloured`. Several curves are drawn with letters, which the
    last line explains: nothing is told by colour alone. A curve without a known point is named and not drawn."""
    import plotext

    plotext.terminal.limit(False, False)  # the caller knows how much room there is
    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.canvas("default")
    legend = len(curves) > 1
    for letter, curve in zip(ascii_lowercase, curves, strict=False):
        for run in _runs(curve.points):
            signal = figure.signal(*zip(*run, strict=True), marker=letter if legend else None)
            figure.draw(signal.lines() if len(run) > 1 else signal)
    for name, axis in (("x", x), ("y", y)):
        figure.label(axis.label, axis=name)
        ruler = figure.ruler(name)
        if axis.low is not None or axis.high is not None:
            ruler.lim(axis.low, axis.high)
        if axis.ticks:
            places, said = zip(*axis.ticks, strict=True)
            ruler.ticks(list(places), list(said))
    figure.plot_size(width, max(height - legend, 3))
    lines = str(figure.build().string(colorless=not is_coloured)).splitlines()
    return [*lines, *([_legend(curves)] if legend else [])]


def even_ticks(low: float, high: float, number: int) -> list[float]:
    """So many places from `low` to `high`, both among them."""
    return [low + (high - low) * one / (number - 1) for one in range(number)]


def _runs(points: Iterable[Point]) -> Iterator[list[tuple[float, float]]]:
    """Without what is unknown, cut where it was."""
    for is_known, run in groupby(points, key=lambda point: point[1] is not None):
        if is_known:
            yield [(x, y) for x, y in run if y is not None]


def _legend(curves: Sequence[Curve]) -> str:
    return "   ".join(
        f"{letter} {curve.name}" + ("" if any(y is not None for _, y in curve.points) else " (nothing known)")
        for letter, curve in zip(ascii_lowercase, curves, strict=False)
    )
