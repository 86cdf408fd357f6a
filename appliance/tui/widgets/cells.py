"""Values of a table as text, and the styles that they get."""

from __future__ import annotations

from rich.style import Style

from appliance.tui import figures, ink
from appliance.tui.filters import Value


def count_of(value: Value) -> str:
    return figures.count(_number(value))


def short_of(value: Value) -> str:
    return figures.short(_number(value))


def seconds_of(value: Value) -> str:
    return figures.seconds(_number(value))


def milliseconds_of(value: Value) -> str:
    return figures.milliseconds(_number(value))


def share_of(value: Value) -> str:
    return figures.share(_number(value))


def size_of(value: Value) -> str:
    return figures.size(_number(value))


def clock_of(value: Value) -> str:
    number = _number(value)
    return figures.UNKNOWN if number is None else figures.clock(number)


def by_phase(value: Value) -> Style:
    return ink.of_phase(str(value))


def by_share(value: Value) -> Style:
    return ink.of_share(_number(value))


def warn_if_any(value: Value) -> Style:
    return ink.WARN if value else ink.PLAIN


def _number(value: Value) -> float | None:
    return value if isinstance(value, int | float) else None
