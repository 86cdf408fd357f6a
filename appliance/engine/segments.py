"""Text → token ids, making only the tokens of what changed since the last turn.

A tokenizer cuts text at its special tokens before it does anything else, so what stands between two of them is
tokenised by itself, whatever surrounds it. A chat template sets special tokens around every message: a turn that
resends its whole history finds all but its last messages here.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

MAX_TOKENS = 4_000_000
"""16 MB of token ids, about forty histories of 100,000 tokens."""
VERIFIED_TEXTS = 16
"""As many of the first texts are tokenised both ways and compared."""
SHORTEST_CHARACTERS = 32
"""A shorter piece is tokenised in less time than it takes to look it up."""


class SegmentTokenizer:
    """Tokenises as `encode` does and remembers the pieces between special tokens, at most `MAX_TOKENS` of them.

    Switches itself off (`exact` turns false) once a text comes out differently. Thread-safe.
    """

    def __init__(
        self, encode: Callable[[str], Sequence[int]], specials: dict[str, int], max_tokens: int = MAX_TOKENS
    ) -> None:
        self._encode = encode
        self._specials = specials
        self._max_tokens = max_tokens
        longest_first = sorted(specials, key=len, reverse=True)
        self._boundary = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self._known: OrderedDict[bytes, array[int]] = OrderedDict()
        self._num_tokens = 0
        self._num_verified = 0
        self._lock = threading.Lock()
        self.exact = bool(specials)
        self.hit_tokens = 0
        self.made_tokens = 0

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

    def tokens_before(self, text: str, ends: Sequence[int]) -> list[int]:
        """How many tokens of `text` lie before each of `ends` (ascending characters). A piece that an end falls into is
        tokenised up to there, so that count may be off by one."""
        counts: list[int] = []
        before, begin = 0, 0
        for end in ends:
            before += len(self.tokenize(text[begin:end]))
            begin = end
            counts.append(before)
        return counts

    def check_integrity(self) -> None:
        """Raises `AssertionError` when the counts are not those of what is kept. Does not mutate."""
        held = sum(map(len, self._known.values()))
        if held != self._num_tokens or (held > self._max_tokens and len(self._known) > 1):
            raise AssertionError(f"segments: {held} tokens held, {self._num_tokens} counted of {self._max_tokens}")

    def _by_segments(self, text: str) -> list[int]:
        token_ids: list[int] = []
        for position, piece in enumerate(self._boundary.split(text)):
            if position % 2:
                token_ids.append(self._specials[piece])
            elif piece:
                token_ids.extend(self._segment(piece))
        return token_ids

    def _segment(self, piece: str) -> Sequence[int]:
        if len(piece) < SHORTEST_CHARACTERS:
            return self._encode(piece)
        key = blake2b(piece.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                self.hit_tokens += len(known)
                return known
        made = array("I", self._encode(piece))
        with self._lock:
            self.made_tokens += len(made)
            self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: array[int]) -> None:
        if key not in self._known:
            self._known[key] = made
            self._num_tokens += len(made)
        while self._num_tokens > self._max_tokens and len(self._known) > 1:
            _, forgotten = self._known.popitem(last=False)
            self._num_tokens -= len(forgotten)


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The tokens that a Hugging Face tokenizer cuts at before it normalises; empty where that is not sure: a slow
    tokenizer, or added tokens that swallow spaces or want to stand alone."""
    if not getattr(tokenizer, "is_fast", False):
        return {}
    raw = [token for token in tokenizer.added_tokens_decoder.items() if not token[1].normalized]
    if any(token.lstrip or token.rstrip or token.single_word for _, token in raw):
        return {}
    return {token.content: token_id for token_id, token in raw if token.content}
