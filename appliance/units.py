"""Sizes in bytes and durations in seconds, as people write them: `120MiB`, `1.5GiB`, `500ms`, `10min`.

In Python a size is an `int` of bytes and a duration a `float` of seconds; text with a unit exists only where people
read or write it. `Bytes` and `Seconds` are the pydantic types that translate at that border.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

SIZES_ACCEPTED = "a size such as 120MiB, 1.5GiB, 2GB or 0 (a plain number is bytes)"
DURATIONS_ACCEPTED = "a duration such as 500ms, 30s, 10min or 1h (a plain number is seconds)"

# Largest first: the first unit that divides a value is the one it is shown in.
_BINARY = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
_DECIMAL = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1}
_BYTES_IN = {unit.lower(): Fraction(size) for unit, size in (_BINARY | _DECIMAL).items()}
_SECONDS_IN = {"h": Fraction(3600), "min": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}
_ALSO = {"m": "min"}

# Past these bounds (1 EiB, 30,000 years) a value is a slip of the hand, and its text would no longer be read back.
_TOO_MANY_BYTES = 2**60
_TOO_MANY_SECONDS = 1e12

# Both patterns also stand in the JSON Schema, so they keep to what every regex dialect knows.
_SIZE = r"^([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([KkMmGgTt][Ii]?[Bb]|[Bb])?$"
_DURATION = r"^([0-9]{1,15}(?:\.[0-9]{1,400})?) ?(ms|s|min|m|h)?$"


def parse_bytes(text: str | float) -> int:
    """Bytes from `120MiB`, `1.5GiB`, `2GB`, `0` or a plain whole number; a part of a byte is dropped.

    Unit letters may have either case. Raises `ValueError`, saying what is accepted, for anything else.
    """
    size = _size(text)
    if size is None or not 0 <= size < _TOO_MANY_BYTES:
        raise ValueError(f"{text!r} is not {SIZES_ACCEPTED}")
    return size


def format_bytes(size_bytes: int) -> str:
    """The shortest exact text with a unit (`0` alone has none): `parse_bytes(format_bytes(n)) == n`."""
    if size_bytes == 0:
        return "0"
    return min(_in_largest_unit(size_bytes, _BINARY), _in_largest_unit(size_bytes, _DECIMAL), key=len)


def parse_duration(text: str | float) -> float:
    """Seconds from `500ms`, `30s`, `10min` (or `10m`), `1h` or a plain number.

    Raises `ValueError`, saying what is accepted, for anything else.
    """
    seconds = _seconds(text)
    if seconds is None or not 0 <= seconds < _TOO_MANY_SECONDS:
        raise ValueError(f"{text!r} is not {DURATIONS_ACCEPTED}")
    return seconds


def format_duration(seconds: float) -> str:
    """Exact text in the largest unit that gives a whole number, else in seconds: `parse_duration` gives it back."""
    if seconds == 0:
        return "0s"
    exact = Decimal(repr(seconds))
    for unit, unit_seconds in _SECONDS_IN.items():
        count = Fraction(exact) / unit_seconds
        if count.denominator == 1:
            return f"{count}{unit}"
    return f"{exact:f}s"


def _size(text: str | float) -> int | None:
    if isinstance(text, int):
        return None if isinstance(text, bool) else text
    match = re.match(_SIZE, text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    number, unit = match.groups(default="B")
    return int(Fraction(number) * _BYTES_IN[unit.lower()])


def _seconds(text: str | float) -> float | None:
    if isinstance(text, (int, float)):
        return None if isinstance(text, bool) else float(text)
    match = re.match(_DURATION, text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    number, unit = match.groups(default="s")
    return float(Fraction(number) * _SECONDS_IN[_ALSO.get(unit, unit)])


def _in_largest_unit(size_bytes: int, units: Mapping[str, int]) -> str:
    return next(f"{size_bytes // size}{unit}" for unit, size in units.items() if size_bytes % size == 0)


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": _SIZE,
            "minimum": 0,
            "examples": ["120MiB", "1.5GiB", "2GB", 0],
            "x-accepts": SIZES_ACCEPTED,
        }
    ),
]
"""Bytes: an `int` in Python, text with a unit in JSON."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": _DURATION,
            "minimum": 0,
            "examples": ["500ms", "30s", "10min", "1h"],
            "x-accepts": DURATIONS_ACCEPTED,
        }
    ),
]
"""Seconds: a `float` in Python, text with a unit in JSON."""
