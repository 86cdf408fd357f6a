"""Base64 in steps that are short however long the text is."""

from __future__ import annotations

import binascii
from typing import Final

PIECE_CHARACTERS: Final = 2**20
"""A decoder lets no other thread run. Measured: 2 ms for so much."""
GROUP_CHARACTERS: Final = 4
GROUP_BYTES: Final = 3


def decode_base64(text: str) -> bytes:
    """Raises `ValueError` for anything but base64 with its padding at the end."""
    pieces = [text[begin : begin + PIECE_CHARACTERS] for begin in range(0, len(text), PIECE_CHARACTERS)]
    decoded = [binascii.a2b_base64(piece, strict_mode=True) for piece in pieces]
    if any(len(piece) < PIECE_CHARACTERS // GROUP_CHARACTERS * GROUP_BYTES for piece in decoded[:-1]):
        raise ValueError("padding in the middle")
    return b"".join(decoded)
