"""The names of a prompt's blocks are those that vLLM's own scheduler works out for the same request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.request import Request

from appliance.engine.host_tier.prompt_hashes import PromptHashes
from appliance.engine.prompt import Prompt

BLOCK_TOKENS = 16


def config(algorithm: str) -> Any:
    cache = SimpleNamespace(block_size=BLOCK_TOKENS, prefix_caching_hash_algo=algorithm)
    return SimpleNamespace(cache_config=cache)


def prompt(token_ids: list[int], salt: str | None, kind: str = "token") -> Prompt:
    told = {"token_ids": token_ids, "engine_input": {"type": kind}, "request": SimpleNamespace(cache_salt=salt)}
    return cast("Prompt", SimpleNamespace(**told))


def as_engines_name_them(algorithm: str, token_ids: list[int], salt: str | None) -> list[bytes]:
    function = get_hash_fn_by_name(algorithm)
    init_none_hash(function)
    return list(
        Request(
            "one",
            token_ids,
            SamplingParams(max_tokens=1),
            None,
            cache_salt=salt,
            block_hasher=get_request_block_hasher(BLOCK_TOKENS, function),
        ).block_hashes
    )


@pytest.mark.parametrize("algorithm", ["sha256", "sha256_cbor"])
@pytest.mark.parametrize("salt", [None, "tenant"])
@pytest.mark.parametrize("num_tokens", [5, 16, 47, 160])
def test_a_block_is_called_what_the_engine_calls_it(algorithm: str, salt: str | None, num_tokens: int) -> None:
    token_ids = [number * 7 % 1000 for number in range(num_tokens)]
    found = PromptHashes(config(algorithm)).of(prompt(token_ids, salt))
    assert [row.tobytes() for row in found] == as_engines_name_them(algorithm, token_ids, salt)


def test_tokens_alone_have_the_names_of_the_prompt_that_is_made_of_them() -> None:
    tokens, hashes = list(range(100)), PromptHashes(config("sha256"))
    for salt in (None, "tenant"):
        assert np.array_equal(hashes.of_tokens(tokens, salt), hashes.of(prompt(tokens, salt)))


def test_a_prompt_with_more_than_tokens_has_no_names_here() -> None:
    found = PromptHashes(config("sha256")).of(prompt(list(range(64)), None, "multimodal"))
    assert np.array_equal(found, np.empty((0, 4), np.uint64))
