"""The input of one tool call as it is made: kept to one JSON object, whatever the model writes around it."""

from __future__ import annotations

import json
import re
from typing import Final

from msgspec import Raw
from pydantic_core import from_json

STRUCTURE: Final = re.compile(r'[\\"{}\[\]]')
NO_INPUT: Final = Raw(b"{}")
UNPARSED: Final = "_unparsed"
"""The member under which text travels that is no JSON object."""


class ToolInput:
    """Takes the pieces of a call's arguments and says what of them can be sent on at once.

    What comes before the object and after its end is left out. Text that begins no object at all is held back to the
    end and becomes the only member, `_unparsed`, of one.
    """

    __slots__ = ("_depth", "_escaped", "_foreign", "_in_string", "is_complete")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._foreign = ""
        self.is_complete = False

    def add(self, piece: str) -> str:
        if self.is_complete or not piece:
            return ""
        if self._depth:
            return piece[: self._end(piece, 0)]
        self._foreign += piece
        text = self._foreign.lstrip()
        if not text.startswith("{"):
            return ""
        self._foreign = ""
        self._depth = 1
        return text[: self._end(text, 1)]

    def end(self) -> str:
        """What was held back. After this nothing more can be added."""
        self.is_complete = self.is_complete or self._depth == 0
        foreign, self._foreign = self._foreign.strip(), ""
        return "" if foreign in ("", "null") else json.dumps({UNPARSED: foreign}, ensure_ascii=False)

    def _end(self, text: str, start: int) -> int:
        """Where the object ends in `text`, or all of it. Reads on from `start`."""
        skipped = start if self._escaped else -1
        self._escaped = False
        for found in STRUCTURE.finditer(text, start):
            position, character = found.start(), found[0]
            if position == skipped:
                continue
            if character == "\\":
                skipped = position + 1
                self._escaped = self._in_string and skipped == len(text)
                skipped = skipped if self._in_string else -1
            elif character == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if character in "{[" else -1
                if self._depth == 0:
                    self.is_complete = True
                    return position + 1
        return len(text)


def input_json(text: str) -> Raw:
    """The JSON object that a client makes of all pieces of an input: one that was cut off ends where it was cut."""
    if not text:
        return NO_INPUT
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return _partial_json(text)
    return Raw(text.encode())


def _partial_json(text: str) -> Raw:
    try:
        value = from_json(text, allow_partial=True, allow_inf_nan=False)
    except ValueError:
        value = {UNPARSED: text}
    return Raw(json.dumps(value, ensure_ascii=False).encode())
