"""A TOML file with the line of every key, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import BoxError

KeyPath = tuple[str | int, ...]
"""The keys that lead to a value; a number is the place of an element in an array."""


class TomlError(BoxError):
    """The file cannot be read, then `line` is `None`, or is not TOML. The message names file and line."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if line is None else f"{path}:{line}: {reason}")
        self.line = line


@dataclass(frozen=True, slots=True)
class TomlDocument:
    """`lines` holds the line, counted from 1, of every key and every element in `values`."""

    values: dict[str, Any]
    lines: Mapping[KeyPath, int]


def read_toml(path: Path) -> TomlDocument:
    """Raises `TomlError`."""
    return parse_toml(path, _read_text(path))


def parse_toml(path: Path, text: str) -> TomlDocument:
    """`path` is only named in errors. Raises `TomlError`."""
    try:
        return TomlDocument(tomllib.loads(text), key_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise TomlError(path, None, "no such file") from error
    except OSError as error:
        raise TomlError(path, None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TomlError(path, line, "not valid TOML: not UTF-8") from error


def _syntax_error(path: Path, text: str, message: str) -> TomlError:
    """`tomllib` tells the line only inside its message: `… (at line 3, column 1)` or `… (at end of document)`."""
    reason, _, place = message.rpartition(" (at ")
    match = re.match(r"line (\d+)", place)
    line = int(match[1]) if match else len(text.splitlines())
    return TomlError(path, line, f"not valid TOML: {reason or message}")


_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANK_OR_COMMA = re.compile(r"(?:[ \t\n,]|#[^\n]*)*")
_AROUND_DOT = re.compile(r"[ \t]*\.[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    # Up to two quotes may stand directly before the closing three.
    r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}"""
    r"""|'{3}.*?'{3,5}"""
    r"""|"(?:[^"\\]|\\.)*\""""
    r"""|'[^']*'""",
    re.DOTALL,
)
_HEADER_START = re.compile(r"\[{1,2}[ \t]*")
_HEADER_END = re.compile(r"[ \t]*\]{1,2}")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, on which each key of a TOML document first stands: tables, dotted and inline keys,
    elements of arrays. `text` must have passed `tomllib.loads`."""
    return _KeyFinder(text.replace("\r\n", "\n")).lines


class _KeyFinder:
    """One pass over a document known to be valid, so it need only tell keys, strings and brackets apart."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._position = 0
        self._tables_in: dict[KeyPath, int] = {}
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._position < len(text):
            if text[self._position] == "[":
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        if match is None:
            return ""
        self._position = match.end()
        return match[0]

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return path

    def _line(self) -> int:
        return self._text.count("\n", 0, self._position) + 1

    def _header(self) -> KeyPath:
        """Inside an array of tables a header speaks of its last table."""
        is_element = self._text.startswith("[[", self._position)
        line = self._line()
        self._skip(_HEADER_START)
        *above, last = self._parts()
        self._skip(_HEADER_END)
        table: KeyPath = ()
        for part in above:
            table = self._last_table(self._note((*table, part), line), line)
        table = self._note((*table, last), line)
        if is_element:
            self._tables_in[table] = self._tables_in.get(table, 0) + 1
        return self._last_table(table, line)

    def _last_table(self, path: KeyPath, line: int) -> KeyPath:
        tables = self._tables_in.get(path)
        return path if tables is None else self._note((*path, tables - 1), line)

    def _assignment(self, table: KeyPath) -> None:
        line = self._line()
        for part in self._parts():
            table = self._note((*table, part), line)
        self._skip(_EQUALS)
        self._value(table)

    def _parts(self) -> Iterator[str]:
        """Steps over a dotted key."""
        while part := self._skip(_KEY_PART):
            yield _plain(part)
            if not self._skip(_AROUND_DOT):
                break

    def _value(self, path: KeyPath) -> None:
        match self._text[self._position]:
            case "[" | "{":
                self._members(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _members(self, path: KeyPath) -> None:
        """Steps over an array or an inline table."""
        end = "]" if self._text[self._position] == "[" else "}"
        self._position += 1
        self._skip(_BLANK_OR_COMMA)
        elements = 0
        while self._text[self._position] != end:
            if end == "}":
                self._assignment(path)
            else:
                self._value(self._note((*path, elements), self._line()))
            elements += 1
            self._skip(_BLANK_OR_COMMA)
        self._position += 1


def _plain(part: str) -> str:
    """A part of a key without its quotes and escapes."""
    return next(iter(tomllib.loads(f"{part} = 0")))
