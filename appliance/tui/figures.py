"""Numbers as short text. Unknown is —, and never a number."""

from __future__ import annotations

import time
from typing import Final

UNKNOWN: Final = "—"


def count(value: float | None) -> str:
    """`12,345`."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Three digits at most: `999`, `41.2K`, `3.05M`."""
    if value is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= size * 0.9995:
            return f"{_three_digits(value / size)}{unit}"
    return f"{value:.0f}"


def share(value: float | None) -> str:
    """`93.1%` of 0.931; everything is `100%`, and what is almost everything is not."""
    if value is None:
        return UNKNOWN
    if 0.9995 <= value < 1:
        return "99.9%"
    return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"


def times(value: float | None) -> str:
    """`13.3` of a ratio; three digits at most before the unit."""
    return UNKNOWN if value is None else f"{value:.1f}" if value < 99.95 else short(value)


def milliseconds(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f} ms" if value < 999.5 else seconds(value / 1000)


def seconds(value: float | None) -> str:
    """`0.35 s`, `12 s`, `3m05s`, `2h10m`, `4d02h`."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0 s"
    if value < 9.95:
        return f"{value:.2f} s" if 0 < value < 1 else f"{value:.1f} s"
    if value < 59.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def size(value: float | None) -> str:
    """Bytes: `812 B`, `1.50 GiB`."""
    if value is None:
        return UNKNOWN
    for unit, scale in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def flow(value: float | None) -> str:
    """Bytes a second."""
    return UNKNOWN if value is None else f"{size(value)}/s"


def clock(at: float) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def plural(number: int, noun: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
