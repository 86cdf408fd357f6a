"""Long lists that are recorded again and again in little room: of most of their parts only the place is told."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.state.snapshots import Packed

LISTS_A_BASE: Final = 60
"""As many lists lean on one that is whole; to read one is to read two rows."""


class PartsPacker:
    """Each list against the last whole one: a part that is found there is told as the step to its place from the place
    behind the one before, which is 0 for neighbours."""

    def __init__(self) -> None:
        self._base: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self._left = 0

    def pack(self, parts: Sequence[bytes]) -> Packed:
        if not self._left:
            self._base = list(parts)
            self._places = {part: place for place, part in enumerate(parts)}
            self._left = LISTS_A_BASE - 1
            return Packed(_compress(self._base), is_base=True)
        self._left -= 1
        told: list[int | bytes] = []
        expected = 0
        for part in parts:
            is_next = expected < len(self._base) and self._base[expected] == part
            place = expected if is_next else self._places.get(part)
            if place is None:
                told.append(part)
            else:
                told.append(place - expected)
                expected = place + 1
        return Packed(_compress(told), is_base=False)

    def restart(self) -> None:
        """The next one is whole."""
        self._left = 0


def unpack_parts(body: bytes, base: bytes | None) -> list[bytes]:
    """`base` is the body of the row that it leans on, if there is one. Raises `ValueError` when it is damaged."""
    try:
        whole = [] if base is None else _decompress(base)
        expected, found = 0, []
        for told in _decompress(body):
            if isinstance(told, int):
                expected += told + 1
                found.append(whole[expected - 1])
            else:
                found.append(told)
    except (zlib.error, msgspec.DecodeError, IndexError) as error:
        raise ValueError(f"a view is damaged: {error}") from error
    if not all(isinstance(part, bytes) for part in found):
        raise ValueError("a view is damaged: the list that it leans on is not whole")
    return found  # type: ignore[return-value]  # looked at one by one


def _compress(told: list[int | bytes] | list[bytes]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(told), 6)


def _decompress(body: bytes) -> list[int | bytes]:
    return msgspec.msgpack.decode(zlib.decompress(body), type=list[int | bytes])
