"""What a prompt's blocks will be called in the engines, known before any engine sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from vllm.config import VllmConfig
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import hash_block_tokens, resolve_none_hash_seed

from appliance.engine.prompt import Prompt

HASH_WORDS = 4


class PromptHashes:
    """As vLLM hashes blocks with this configuration (a contract test holds them together)."""

    def __init__(self, config: VllmConfig) -> None:
        self._block_tokens = int(config.cache_config.block_size)
        self._hash = get_hash_fn_by_name(config.cache_config.prefix_caching_hash_algo)
        self._root = self._hash(resolve_none_hash_seed(self._hash))

    def of(self, prompt: Prompt) -> NDArray[np.uint64]:
        """Of its full blocks, four words each; none for a prompt with images or anything else besides tokens."""
        if prompt.engine_input["type"] != "token":
            return np.empty((0, HASH_WORDS), np.uint64)
        return self.of_tokens(prompt.token_ids, prompt.request.cache_salt)

    def of_tokens(self, tokens: list[int], salt: str | None) -> NDArray[np.uint64]:
        """As `of`, for a prompt that is nothing but these tokens."""
        size = self._block_tokens
        extra_keys = (("cache_salt", salt),) if salt else None
        found, parent = [], self._root
        for start in range(0, len(tokens) - size + 1, size):
            parent = hash_block_tokens(self._hash, parent, tokens[start : start + size], extra_keys)
            extra_keys = None
            found.append(parent)
        return np.frombuffer(b"".join(found), np.uint64).reshape(-1, HASH_WORDS)
