"""The box's status of every second in little room: most of it is what it was a second ago."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

SECONDS_A_BASE: Final = 60
"""As many snapshots lean on one that is whole; to read one is to read two rows."""


class Packed(NamedTuple):
    """`is_base`: it can be read alone."""

    body: bytes
    is_base: bool


class SnapshotPacker:
    """Each against the last whole one, which zlib takes as its dictionary."""

    def __init__(self) -> None:
        self._base = b""
        self._left = 0

    def pack(self, status: Mapping[str, Any]) -> Packed:
        text = msgspec.json.encode(status)
        if self._left:
            self._left -= 1
            return Packed(_compress(text, self._base), is_base=False)
        self._base, self._left = text, SECONDS_A_BASE - 1
        return Packed(_compress(text, b""), is_base=True)

    def restart(self) -> None:
        """The next one is whole."""
        self._left = 0


def unpack(body: bytes, base: bytes | None) -> Any:
    """`base` is the body of the row that it leans on, if there is one. Raises `ValueError` when it is damaged."""
    try:
        dictionary = b"" if base is None else _decompress(base, b"")
        return msgspec.json.decode(_decompress(body, dictionary))
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"a snapshot is damaged: {error}") from error


def _compress(text: bytes, dictionary: bytes) -> bytes:
    packer = zlib.compressobj(zdict=dictionary) if dictionary else zlib.compressobj()
    return packer.compress(text) + packer.flush()


def _decompress(body: bytes, dictionary: bytes) -> bytes:
    return (zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()).decompress(body)
