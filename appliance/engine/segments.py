"""Text → token ids, making only the tokens of what changed since the last turn.

A tokenizer cuts text at its special tokens before it does anything else, so what stands between two of them is
tokenised by itself, whatever surrounds it. A chat template sets special tokens around every message: a turn that
resends its whole history finds all but its last messages here.
"""

from __future__ import annotations

import re
import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

MAX_BYTES = 2**26
"""Of pieces and their tokens, about sixty histories of 100,000 tokens."""
TOKENS_AT_ONCE = 2**16
"""To copy more holds all threads."""
VERIFIED_TEXTS = 16
"""As many of the first texts are tokenised both ways and compared."""


class Anchor(NamedTuple):
    """The beginning of a piece, and how many tokens stand before it."""

    characters: int = 0
    tokens: int = 0


class Count(NamedTuple):
    """How many tokens stand before a place in a text; from the `anchor` on one can go on counting."""

    tokens: int
    anchor: Anchor


class SegmentTokenizer:
    """Tokenises as `encode` does and remembers the pieces between special tokens, at most `max_bytes` of them.

    Switches itself off (`exact` turns false) once a text comes out differently. Thread-safe.
    """

    def __init__(
        self, encode: Callable[[str], Sequence[int]], specials: dict[str, int], max_bytes: int = MAX_BYTES
    ) -> None:
        self._encode = encode
        self._specials = specials
        self._max_bytes = max_bytes
        longest_first = sorted(specials, key=len, reverse=True)
        self._boundary = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._num_bytes = 0
        self._num_verified = 0
        self._lock = threading.Lock()
        self.exact = bool(specials)
        self.hit_tokens = 0
        self.made_tokens = 0
        self.forgotten_pieces = 0

    def tokenize(self, text: str) -> list[int]:
        if not self.exact:
            return list(self._encode(text))
        token_ids = self._by_segments(text)
        if self._num_verified < VERIFIED_TEXTS:
            self._num_verified += 1
            true = list(self._encode(text))
            self.exact = token_ids == true
            return true
        return token_ids

    def count(self, text: str) -> int:
        """How many tokens `tokenize` would make."""
        return sum(map(len, self._pieces(text))) if self.exact else len(self._encode(text))

    def counts(self, text: str, ends: Sequence[int], start: Anchor = Anchor()) -> list[Count]:  # noqa: B008 – frozen
        """How many tokens of `text` stand before each of `ends` (ascending characters behind `start`). A piece that an
        end falls into is tokenised up to there, so that count may be off by one."""
        found: list[Count] = []
        boundaries = self._boundary.finditer(text, start.characters) if self.exact else iter(())
        boundary = next(boundaries, None)
        anchor = start
        for end in ends:
            while boundary is not None and boundary.end() <= end:
                before = len(self._segment(text[anchor.characters : boundary.start()]))
                anchor = Anchor(boundary.end(), anchor.tokens + before + 1)
                boundary = next(boundaries, None)
            tokens = anchor.tokens + len(self._segment(text[anchor.characters : end]))
            found.append(Count(tokens, anchor))
            if not self.exact:
                anchor = Anchor(end, tokens)
        return found

    def check_integrity(self) -> None:
        """Raises `AssertionError` when the sizes are not those of what is kept. Does not mutate."""
        held = sum(_num_bytes(piece, made) for piece, made in self._known.items())
        if held != self._num_bytes or held > self._max_bytes:
            raise AssertionError(f"segments: {held} bytes held, {self._num_bytes} counted of {self._max_bytes}")

    def _by_segments(self, text: str) -> list[int]:
        token_ids: list[int] = []
        for piece in self._pieces(text):
            for portion in _portions(piece):
                token_ids.extend(portion)
        return token_ids

    def _pieces(self, text: str) -> Iterator[Sequence[int]]:
        """The tokens of each special token, and of each piece between."""
        for position, piece in enumerate(self._boundary.split(text)):
            yield (self._specials[piece],) if position % 2 else self._segment(piece)

    def _segment(self, piece: str) -> Sequence[int]:
        if not piece:
            return ()
        with self._lock:
            known = self._known.get(piece)
            if known is not None:
                self._known.move_to_end(piece)
                self.hit_tokens += len(known)
                return known
        made = array("I")
        for portion in _portions(self._encode(piece)):
            made.extend(portion)
        with self._lock:
            self.made_tokens += len(made)
            self._keep(piece, made)
        return made

    def _keep(self, piece: str, made: array[int]) -> None:
        """A piece that would push out most others is not kept."""
        num_bytes = _num_bytes(piece, made)
        if piece in self._known or num_bytes > self._max_bytes // 4:
            return
        self._known[piece] = made
        self._num_bytes += num_bytes
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= _num_bytes(*self._known.popitem(last=False))
            self.forgotten_pieces += 1


def _num_bytes(piece: str, made: array[int]) -> int:
    return sys.getsizeof(piece) + sys.getsizeof(made)


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The tokens that a Hugging Face tokenizer cuts at before it normalises; empty where that is not sure: a slow
    tokenizer, or added tokens that swallow spaces or want to stand alone."""
    if not getattr(tokenizer, "is_fast", False):
        return {}
    raw = [token for token in tokenizer.added_tokens_decoder.items() if not token[1].normalized]
    if any(token.lstrip or token.rstrip or token.single_word for _, token in raw):
        return {}
    return {token.content: token_id for token_id, token in raw if token.content}


def _portions(tokens: Sequence[int]) -> Iterator[Sequence[int]]:
    return (tokens[begin : begin + TOKENS_AT_ONCE] for begin in range(0, len(tokens), TOKENS_AT_ONCE))
