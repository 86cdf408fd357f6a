"""JSON → values, in steps that are short however long the text is, and never nested without bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MAX_NESTING: Final = 100
"""Arrays and objects inside one another. What walks a value later may walk it recursively; and a grammar for a JSON
schema takes time by the cube of its depth (measured: 0.4 s for 128 levels, 11 s for 400)."""
PIECE_BYTES: Final = 2**18
"""No more is decoded at once: a decoder lets no other thread run, and takes up to 10 ms for so much dense JSON."""

MAX_PATH_CHARACTERS: Final = 256

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BLANKS: Final = b" \t\r\n"


class NestedTooDeeplyError(ValueError):
    """Nested more than `MAX_NESTING` deep."""


def decode_json(text: bytes) -> Any:
    """Raises `msgspec.DecodeError` or `UnicodeDecodeError` for text that is no JSON (lone surrogates are none), and
    `NestedTooDeeplyError`."""
    try:
        value = _decode(text, 0)
    except RecursionError as error:
        raise NestedTooDeeplyError from error
    # Counting brackets is cheaper than a walk, and a short request has too few of them.
    if text.count(b"[") + text.count(b"{") > MAX_NESTING and _is_nested_deeper(value, MAX_NESTING):
        raise NestedTooDeeplyError
    return value


def lone_surrogate(text: bytes) -> str | None:
    """Where JSON that could not be decoded escapes half of a surrogate pair, which is no character and has no tokens:
    the path of the field, cut off when it is long. `None` when that is not what is wrong."""
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


def _decode(text: bytes | msgspec.Raw, depth: int) -> Any:
    """A long array or object is first cut into its members, then each of them is decoded."""
    if len(text) <= PIECE_BYTES or depth == MAX_NESTING:
        return msgspec.json.decode(text)
    first = bytes(memoryview(text)[:PIECE_BYTES]).lstrip(_BLANKS)[:1]
    if first == b"{":
        return {name: _decode(member, depth + 1) for name, member in _OBJECT.decode(text).items()}
    if first == b"[":
        return [_decode(member, depth + 1) for member in _ARRAY.decode(text)]
    return msgspec.json.decode(text)


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
