"""Long JSON decoded piece by piece: it is cut at commas and between characters, so that no step takes long."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from appliance.api import json_scan
from appliance.api.json_scan import Scanned

PIECE_BYTES: Final = 2**18
"""No more is decoded at once: a decoder lets no other thread run, and takes up to 10 ms for so much dense JSON."""

_HEADER_BYTES: Final = sys.getsizeof("") - 1
"""Of a string of ASCII; behind it stand its characters, a byte each, and a zero."""
_LAST_ASCII: Final = 127

_new_string = ctypes.pythonapi.PyUnicode_New
_new_string.restype = ctypes.py_object
_new_string.argtypes = (ctypes.c_ssize_t, ctypes.c_uint32)


class Pieces:
    """One text. Every piece goes through msgspec: what is no JSON as a whole has a piece that is none."""

    def __init__(self, text: bytes, scanned: Scanned) -> None:
        self._bytes = memoryview(text)
        self._scanned = scanned

    def decode(self) -> Any:
        """Raises `msgspec.DecodeError` or `UnicodeDecodeError`."""
        return self._value(0, len(self._bytes))

    def _value(self, begin: int, end: int) -> Any:
        begin, end = json_scan.trimmed(self._scanned, begin, end)
        if end - begin <= PIECE_BYTES:
            return msgspec.json.decode(self._bytes[begin:end])
        match bytes((self._bytes[begin], self._bytes[end - 1])):
            case b"{}":
                return self._object(begin + 1, end - 1)
            case b"[]":
                return self._array(begin + 1, end - 1)
            case b'""':
                return self._string(begin + 1, end - 1)
            case ends if ends[:1] in b'{["':
                raise _malformed(begin)
        return msgspec.json.decode(self._bytes[begin:end])

    def _array(self, begin: int, end: int) -> list[Any]:
        values: list[Any] = []
        for start, stop in self._runs(begin, end):
            if stop - start <= PIECE_BYTES:
                values += msgspec.json.decode(b"".join((b"[", self._bytes[start:stop], b"]")))
            else:
                values.append(self._value(start, stop))
        return values

    def _object(self, begin: int, end: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for start, stop in self._runs(begin, end):
            if stop - start <= PIECE_BYTES:
                values |= msgspec.json.decode(b"".join((b"{", self._bytes[start:stop], b"}")))
                continue
            middle = json_scan.colon(self._scanned, start, stop)
            name = self._value(start, middle)
            if not isinstance(name, str):
                raise _malformed(start)
            values[name] = self._value(middle + 1, stop)
        return values

    def _string(self, begin: int, end: int) -> str:
        if json_scan.is_plain(self._scanned, begin, end):
            return self._ascii(begin, end)
        places = (begin, *json_scan.breaks(self._scanned, begin, end, PIECE_BYTES), end)
        pairs = itertools.pairwise(places)
        return "".join(msgspec.json.decode(b"".join((b'"', self._bytes[start:stop], b'"'))) for start, stop in pairs)

    def _ascii(self, begin: int, end: int) -> str:
        """Copied without Python's lock: 32 MB take 15 ms, most of it for pages of memory that are new."""
        text: str = _new_string(end - begin, _LAST_ASCII)
        ctypes.memmove(id(text) + _HEADER_BYTES, self._scanned.text.ctypes.data + begin, end - begin)
        return text

    def _runs(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Members that are decoded together; a long one is alone."""
        cuts = [int(cut) for cut in json_scan.commas(self._scanned, begin, end, PIECE_BYTES)]
        for start, stop in zip((begin, *(cut + 1 for cut in cuts)), (*cuts, end), strict=True):
            run = json_scan.trimmed(self._scanned, start, stop)
            if run[0] < run[1]:
                yield run
            elif cuts:
                raise _malformed(start)


def _malformed(place: int) -> msgspec.DecodeError:
    return msgspec.DecodeError(f"JSON is malformed (byte {place})")
