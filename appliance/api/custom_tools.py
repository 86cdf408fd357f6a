"""Custom tools take free text. A model sees a function with one string `input`, so its calls are JSON on the inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from appliance.conversation import CacheMark, Tool, ToolKind

CUSTOM_PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}

_OPENING: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_BEFORE_OPENING: Final = re.compile(r'\s*(\{\s*("(i(n(p(u(t("\s*(:\s*)?)?)?)?)?)?)?)?)?')
_HEX: Final = re.compile(r"[0-9a-fA-F]{0,4}")
_LOW_SURROGATE: Final = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_BEFORE_LOW_SURROGATE: Final = re.compile(r"(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?")
_STOP: Final = re.compile(r'["\\]')
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NO_CHARACTER: Final = "\ufffd"


def custom_tool(name: str, description: str | None, mark: CacheMark | None) -> Tool:
    return Tool(name, description, CUSTOM_PARAMETERS, mark=mark, kind=ToolKind.CUSTOM)


def custom_names(tools: Iterable[Tool]) -> frozenset[str]:
    return frozenset(tool.name for tool in tools if tool.kind is ToolKind.CUSTOM)


def custom_arguments(text: str) -> str:
    """The arguments of a call whose input is `text`."""
    return json.dumps({"input": text}, ensure_ascii=False)


def custom_input(arguments: str) -> str:
    """The input of a call, whatever the model wrote: what is not JSON with an `input` first is itself the input."""
    reader = CustomInput()
    return reader.add(arguments) + reader.end()


class CustomInput:
    """The input of one call, read from its arguments piece by piece. However they are cut, the same text comes out."""

    __slots__ = ("_held", "_is_closed", "_is_raw", "_is_text")

    def __init__(self) -> None:
        self._held = ""
        self._is_text = False
        self._is_raw = False
        self._is_closed = False

    def add(self, piece: str) -> str:
        """What is certain after `piece`."""
        if self._is_closed:
            return ""
        self._held += piece
        if not (self._is_text or self._is_raw):
            self._begin()
        if self._is_raw:
            return self._rest()
        return self._text() if self._is_text else ""

    def end(self) -> str:
        """What is left when no piece follows. An escape that was cut off is dropped."""
        return "" if self._is_text else self._rest()

    def _begin(self) -> None:
        opening = _OPENING.match(self._held)
        if opening:
            self._is_text = True
            self._held = self._held[opening.end() :]
        elif not _BEFORE_OPENING.fullmatch(self._held):
            self._is_raw = True

    def _text(self) -> str:
        """The characters that are whole. A quote ends the text."""
        text: list[str] = []
        position = 0
        while True:
            stop = _STOP.search(self._held, position)
            end = stop.start() if stop else len(self._held)
            text.append(self._held[position:end])
            escaped = _escaped(self._held, end) if stop and stop[0] == "\\" else None
            if escaped is None:
                self._is_closed = stop is not None and stop[0] == '"'
                self._held = self._held[end:]
                return "".join(text)
            text.append(escaped[0])
            position = escaped[1]

    def _rest(self) -> str:
        rest, self._held = self._held, ""
        return rest


def _escaped(text: str, start: int) -> tuple[str, int] | None:
    """The character that the escape at `start` stands for, and where the escape ends; `None` while it is not whole.

    Models write escapes that JSON does not know: they stand for themselves.
    """
    kind = text[start + 1 : start + 2]
    if kind != "u":
        return (_ESCAPES.get(kind, f"\\{kind}"), start + 2) if kind else None
    digits = _HEX.match(text, start + 2)
    end = digits.end() if digits else start + 2
    if end < start + 6:
        return None if end == len(text) else ("\\u", start + 2)
    code = int(text[start + 2 : end], 16)
    if not 0xD800 <= code <= 0xDFFF:
        return chr(code), end
    return _surrogate(text, code, end)


def _surrogate(text: str, code: int, end: int) -> tuple[str, int] | None:
    """Two of them are one character; one alone is none."""
    low = _LOW_SURROGATE.match(text, end)
    if code < 0xDC00 and low:
        return chr(0x10000 + ((code - 0xD800) << 10) + int(text[end + 2 : end + 6], 16) - 0xDC00), end + 6
    if code < 0xDC00 and _BEFORE_LOW_SURROGATE.fullmatch(text, end):
        return None
    return _NO_CHARACTER, end
