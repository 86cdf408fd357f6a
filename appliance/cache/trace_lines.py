"""Files of one JSON value a line: what is wrong with a line is told with its number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

MALFORMED: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a reader runs into when a record is not of the shape that it expects."""


class LineError(ValueError):
    """One line, counted from 1, that cannot be read."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def numbered_rows(text: str) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank. Raises `LineError`."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            with at_line(number):
                row = json.loads(line)
            yield number, row


@contextmanager
def at_line(number: int) -> Iterator[None]:
    """What goes wrong inside is this line's fault. Raises `LineError`."""
    try:
        yield
    except MALFORMED as error:
        raise LineError(number, problem_of(error)) from error


def problem_of(error: Exception) -> str:
    """One of `MALFORMED`, as something to say of a file or a line."""
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg}, at character {error.colno}"
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]!r}"
    return f"not as its format has it: {error}"
