"""The language of `/`: which rows of a list to show.

    word          somewhere in the row            !word         nowhere in it
    column:word   in this column                  column>10     and <, >=, <=, =: as numbers

All terms must hold. Whichever case.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from appliance.errors import BoxError, nearest

Value = str | float | None
Test = Callable[[Mapping[str, Value]], bool]

_TERM: Final = re.compile(r"(?P<column>[A-Za-z_ ]+?)(?P<sign>:|>=|<=|>|<|=)(?P<value>.+)")
_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip


class FilterError(BoxError):
    """A filter that makes no sense; says what would."""


def filter_of(text: str, columns: list[str]) -> Test:
    """A test of rows by column. Raises `FilterError`."""
    tests = [_term(word, columns) for word in text.split()]
    return lambda row: all(test(row) for test in tests)


def _term(term: str, columns: list[str]) -> Test:
    if term.startswith("!") and len(term) > 1:
        inner = _term(term[1:], columns)
        return lambda row: not inner(row)
    match = _TERM.fullmatch(term)
    if match is None:
        return _anywhere(term.lower())
    if match["column"] not in columns:
        if match["sign"] == ":":
            return _anywhere(term.lower())
        meant = nearest(match["column"], columns)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(columns)}"
        raise FilterError(f"{term}: no column {match['column']}; {hint}")
    return _in_column(match["column"], match["sign"], match["value"])


def _anywhere(word: str) -> Test:
    return lambda row: any(word in str(value).lower() for value in row.values() if value is not None)


def _in_column(column: str, sign: str, wanted: str) -> Test:
    if sign == ":":
        word = wanted.lower()
        return lambda row: word in str(row.get(column) or "").lower()
    try:
        number = float(wanted)
    except ValueError:
        if sign == "=":
            return lambda row: str(row.get(column) or "").lower() == wanted.lower()
        raise FilterError(f"{column}{sign}{wanted}: {wanted} is no number") from None
    compare = _SIGNS[sign]

    def holds(row: Mapping[str, Value]) -> bool:
        value = row.get(column)
        return isinstance(value, int | float) and compare(value, number)

    return holds
