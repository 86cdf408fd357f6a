"""What is in JSON before anything of it is decoded, and where it can be cut: loops over its bytes that let other
threads run, where a decoder would hold Python's lock. They trust nothing: text that is no JSON gives some answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.kernel import Numbers, entry, inlined

CONTAINERS, VALUES, DEPTH, TEXT_BYTES = range(4)
"""Of what `measure` returns: arrays and objects; they and the commas; the most inside one another; bytes in strings
that are no base64."""
DATA_BYTES = 2**18
"""A longer string of base64 is an image or a file; a shorter one may be text."""
HEAD_BYTES = 128
"""So much of base64 may be something else: `data:image/png;base64,`."""

_WORD_BYTES, _HEX_ESCAPE_BYTES = 8, 6
_QUOTE, _ESCAPE, _COMMA, _COLON, _PLUS = 0x22, 0x5C, 0x2C, 0x3A, 0x2B
_SLASH, _NINE, _EQUALS = 0x2F, 0x39, 0x3D
_SPACE, _TAB, _NEW_LINE, _RETURN = 0x20, 0x09, 0x0A, 0x0D
_A, _Z, _OPEN_LIST, _CLOSE_LIST, _OPEN, _CLOSE = 0x41, 0x5A, 0x5B, 0x5D, 0x7B, 0x7D
_U, _D, _EIGHT, _B = 0x75, 0x44, 0x38, 0x42
_UPPER_CASE, _NO_ASCII, _FIRST_BYTE = 0xDF, 0x80, 0xC0

_QUOTES, _ESCAPES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)
_ONES, _TOPS, _NO_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080), np.uint64(0)


class Scanned(NamedTuple):
    """The same bytes one by one and, as far as they go, eight by eight."""

    text: NDArray[np.uint8]
    words: NDArray[np.uint64]

    @classmethod
    def of(cls, text: bytes) -> Scanned:
        return cls(np.frombuffer(text, np.uint8), np.frombuffer(text, np.uint64, len(text) // _WORD_BYTES))


@inlined
def _has_zero(word: np.uint64) -> bool:
    """Whether one of its bytes is zero."""
    return bool((word - _ONES) & ~word & _TOPS != _NO_BITS)


@inlined
def _closing(scanned: Scanned, begin: int, end: int) -> int:
    """Where the string whose first byte is at `begin` has its closing quote; `end` or behind it where there is none."""
    text, words = scanned
    position = begin
    while position < end:
        byte = text[position]
        if byte == _QUOTE:
            break
        position += 2 if byte == _ESCAPE else 1
        while position % _WORD_BYTES == 0 and position + _WORD_BYTES <= end:
            word = words[position // _WORD_BYTES]
            if _has_zero(word ^ _QUOTES) or _has_zero(word ^ _ESCAPES):
                break
            position += _WORD_BYTES
    return position


@inlined
def _is_blank(byte: int) -> bool:
    return byte in (_SPACE, _TAB, _NEW_LINE, _RETURN)


@inlined
def _is_base64(text: NDArray[np.uint8], begin: int, end: int) -> bool:
    for position in range(begin, end):
        byte = text[position]
        upper = byte & _UPPER_CASE
        is_letter = upper >= _A and upper <= _Z
        is_digit_or_slash = byte >= _SLASH and byte <= _NINE
        if not (is_letter or is_digit_or_slash or byte in (_PLUS, _EQUALS)):
            return False
    return True


@entry
def measure(scanned: Scanned) -> Numbers:
    """`CONTAINERS`, `VALUES`, `DEPTH` and `TEXT_BYTES` of JSON."""
    text = scanned.text
    found = np.zeros(4, np.int64)
    depth, position, end = 0, 0, text.size
    while position < end:
        byte = text[position]
        if byte == _QUOTE:
            begin = position + 1
            position = min(_closing(scanned, begin, end), end)
            if position - begin <= DATA_BYTES or not _is_base64(text, begin + HEAD_BYTES, position):
                found[TEXT_BYTES] += position - begin
        elif byte == _COMMA:
            found[VALUES] += 1
        elif byte in (_OPEN, _OPEN_LIST):
            depth += 1
            found[CONTAINERS] += 1
            found[VALUES] += 1
            found[DEPTH] = max(found[DEPTH], depth)
        elif byte in (_CLOSE, _CLOSE_LIST):
            depth -= 1
        position += 1
    return found


@entry
def commas(scanned: Scanned, begin: int, end: int, piece: int) -> Numbers:
    """Where to cut what stands between two brackets so that each part is at most `piece` long or a single member."""
    text = scanned.text
    # Of two parts next to one another one at least is followed by a member that would not fit.
    cuts, num_cuts = np.empty(2 * ((end - begin) // piece) + 2, np.int64), 0
    depth, position, start, last = 0, begin, begin, -1
    while position <= end:
        byte = np.int64(text[position]) if position < end else _COMMA
        if byte == _QUOTE:
            position = min(_closing(scanned, position + 1, end), end - 1)
        elif byte in (_OPEN, _OPEN_LIST):
            depth += 1
        elif byte in (_CLOSE, _CLOSE_LIST):
            depth -= 1
        elif byte == _COMMA and (depth == 0 or position == end):
            if position - start > piece and last >= start:
                cuts[num_cuts] = last
                num_cuts += 1
                start = last + 1
            if position - start > piece and position < end:
                cuts[num_cuts] = position
                num_cuts += 1
                start = position + 1
            last = position
        position += 1
    return cuts[:num_cuts]


@entry
def colon(scanned: Scanned, begin: int, end: int) -> int:
    """The first colon outside of a string; `end` where there is none."""
    text = scanned.text
    position = begin
    while position < end and text[position] != _COLON:
        position = 1 + (_closing(scanned, position + 1, end) if text[position] == _QUOTE else position)
    return min(position, end)


@entry
def trimmed(scanned: Scanned, begin: int, end: int) -> tuple[int, int]:
    """The same part without blanks at either end."""
    text = scanned.text
    while begin < end and _is_blank(text[begin]):
        begin += 1
    while begin < end and _is_blank(text[end - 1]):
        end -= 1
    return begin, end


@entry
def is_plain(scanned: Scanned, begin: int, end: int) -> bool:
    """Whether this part of a string is ASCII that stands for itself."""
    text = scanned.text
    strange = 0
    for position in range(begin, end):
        byte = text[position]
        strange += byte in (_QUOTE, _ESCAPE) or byte < _SPACE or byte >= _NO_ASCII
    return strange == 0


@inlined
def _is_first_half(text: NDArray[np.uint8], position: int, end: int) -> bool:
    r"""Whether half a pair of surrogates is escaped here, and the other one has to follow: `\uD800` to `\uDBFF`."""
    if position + _HEX_ESCAPE_BYTES > end or text[position] != _ESCAPE or text[position + 1] != _U:
        return False
    digit = text[position + 3] if text[position + 3] <= _NINE else text[position + 3] & _UPPER_CASE
    is_surrogate = bool(text[position + 2] & _UPPER_CASE == _D)
    return is_surrogate and digit >= _EIGHT and digit <= _B


@entry
def breaks(scanned: Scanned, begin: int, end: int, piece: int) -> Numbers:
    """Where to cut what stands between two quotes into parts of about `piece`: never inside a character."""
    text = scanned.text
    cuts, num_cuts = np.empty((end - begin) // piece + 1, np.int64), 0
    position, start, is_behind_half = begin, begin, False
    while position < end:
        byte = text[position]
        is_inside = byte >= _NO_ASCII and byte < _FIRST_BYTE
        if position - start >= piece and not is_inside and not is_behind_half:
            cuts[num_cuts] = position
            num_cuts += 1
            start = position
        is_behind_half = _is_first_half(text, position, end)
        if byte != _ESCAPE:
            position += 1
        else:
            position += _HEX_ESCAPE_BYTES if position + 1 < end and text[position + 1] == _U else 2
    return cuts[:num_cuts]


def warm_up() -> None:
    """Compile all of it, or read it from disk: what is compiled at its first call holds a loop for seconds."""
    scanned = Scanned.of(b'{"a": ["b"]}')
    measure(scanned)
    commas(scanned, 1, 11, 4)
    colon(scanned, 1, 11)
    trimmed(scanned, 1, 11)
    is_plain(scanned, 2, 3)
    breaks(scanned, 2, 3, 1)
