"""Text of the tokens of prompts, for whoever may see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from appliance.divergence import Decode
from appliance.router.hashing import Tokens

KEPT_TEXTS: Final = 4096
"""Of at most 400 tokens each: asking for the same tree again decodes nothing."""
SPARE_TOKENS: Final = 4
"""A character may take several tokens."""


class PromptText:
    """Decodes with the engine's tokenizer. From any thread. `searching` is held by the one search at a time."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._kept: Callable[[bytes], str] = lru_cache(KEPT_TEXTS)(self._decoded)
        self.searching = asyncio.Lock()

    def of(self, tokens: Tokens | Sequence[int]) -> str:
        return self._decode(np.asarray(tokens, np.uint32).tolist())

    def first(self, tokens: Tokens, characters: int) -> str:
        """At most so many characters of it."""
        return self._kept(tokens[: characters + SPARE_TOKENS].tobytes())[:characters]

    def last(self, tokens: Tokens, characters: int) -> str:
        return self._kept(tokens[max(tokens.size - characters - SPARE_TOKENS, 0) :].tobytes())[-characters:]

    def _decoded(self, tokens: bytes) -> str:
        return self.of(np.frombuffer(tokens, np.uint32))
