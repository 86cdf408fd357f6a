"""JSON → values, in steps that are short however long the text is, never nested or branched without bound."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MAX_NESTING: Final = 100
"""Arrays and objects inside one another. What walks a value later may walk it recursively; and a grammar for a JSON
schema takes time by the cube of its depth (measured: 0.4 s for 128 levels, 11 s for 400)."""
SHORT_BYTES: Final = 2**18
"""Decoded in one step."""
MAX_PATH_CHARACTERS: Final = 256
MAX_SEARCHED_BYTES: Final = 2**20
"""Of text that is no JSON. What searches it lets no other thread run."""


class NestedTooDeeplyError(ValueError):
    """Nested more than `MAX_NESTING` deep."""


class TooMuchError(ValueError):
    """`found` of a `kind` of which no more than `most` are decoded."""

    def __init__(self, found: int, most: int, kind: str) -> None:
        super().__init__(f"{found} {kind}, at most {most} are decoded")
        self.found = found
        self.most = most
        self.kind = kind


class TooManyValuesError(TooMuchError):
    pass


class TooMuchTextError(TooMuchError):
    """Images and files are not counted."""


TOKEN_BYTES: Final = 32
"""Of JSON, for a token: a token of English takes 4 or 5, one of Chinese written in escapes 6 to 12."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is decoded: values, those of which others consist, and bytes of text. Text of at most
    `SHORT_BYTES` has no bounds."""

    values: int = sys.maxsize
    containers: int = sys.maxsize
    text_bytes: int = sys.maxsize

    @classmethod
    def of(cls, context_tokens: int) -> Bounds:
        """Far beyond what a model with such a context can read. Arrays and objects fewest of all: Python's collector
        walks all that are made of them at once, which holds every thread (measured: 10 ms for 16,384 parts)."""
        return cls(
            values=max(2**18, 4 * context_tokens),
            containers=max(2**14, context_tokens // 8),
            text_bytes=max(2**22, TOKEN_BYTES * context_tokens),
        )


UNBOUNDED: Final = Bounds()


def decode_json(text: bytes, bounds: Bounds = UNBOUNDED) -> Any:
    """Raises `msgspec.DecodeError` or `UnicodeDecodeError` for text that is no JSON (lone surrogates are none),
    `NestedTooDeeplyError`, `TooManyValuesError` and `TooMuchTextError`."""
    return _decode_short(text) if len(text) <= SHORT_BYTES else _decode_long(text, bounds)


def _decode_short(text: bytes) -> Any:
    try:
        value = msgspec.json.decode(text)
    except RecursionError as error:
        raise NestedTooDeeplyError from error
    # Counting brackets is cheaper than a walk, and a short request has too few of them.
    if text.count(b"[") + text.count(b"{") > MAX_NESTING and _is_nested_deeper(value, MAX_NESTING):
        raise NestedTooDeeplyError
    return value


def _decode_long(text: bytes, bounds: Bounds) -> Any:
    # Compiled code, which programs that read nothing long need not load.
    from appliance.api import json_scan
    from appliance.api.json_pieces import Pieces

    scanned = json_scan.Scanned.of(text)
    found = [int(count) for count in json_scan.measure(scanned)]
    if found[json_scan.DEPTH] > MAX_NESTING:
        raise NestedTooDeeplyError
    if found[json_scan.VALUES] > bounds.values:
        raise TooManyValuesError(found[json_scan.VALUES], bounds.values, "values")
    if found[json_scan.CONTAINERS] > bounds.containers:
        raise TooManyValuesError(found[json_scan.CONTAINERS], bounds.containers, "arrays and objects")
    if found[json_scan.TEXT_BYTES] > bounds.text_bytes:
        raise TooMuchTextError(found[json_scan.TEXT_BYTES], bounds.text_bytes, "bytes of text")
    return Pieces(text, scanned).decode()


def lone_surrogate(text: bytes) -> str | None:
    """Where JSON that could not be decoded escapes half of a surrogate pair, which is no character and has no tokens:
    the path of the field, cut off when it is long. `None` when that is not what is wrong, or the text is longer than
    `MAX_SEARCHED_BYTES`."""
    if len(text) > MAX_SEARCHED_BYTES:
        return None
    try:
        found = next((path for path, string in _strings("", json.loads(text)) if _is_half(string)), None)
    except (ValueError, RecursionError):
        return None
    return None if found is None else found[:MAX_PATH_CHARACTERS]


def _is_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _strings(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """All strings in a value, keys too, each with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield path, name
            yield from _strings(f"{path}.{name}" if path else name, member)
    elif isinstance(value, list):
        for position, member in enumerate(value):
            yield from _strings(f"{path}[{position}]", member)


def _is_nested_deeper(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
