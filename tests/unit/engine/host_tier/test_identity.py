"""Blocks that differ have other keys: what makes them differ is changed, one thing at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import vllm
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import get_hash_fn_by_name
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_offload.base import make_offload_key
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.request import Request

from appliance.engine.host_tier.identity import Namespace, identity

BLOCK_TOKENS = 16
TOKENS = list(range(4 * BLOCK_TOKENS))
PARALLEL = OffloadingParallelConfig(0, 1, 1, 1, 1, 1, 0, 1, None, False)
CONFIG = OffloadingConfig(
    groups=(OffloadingGroupConfig(BLOCK_TOKENS, ("layers.0", "layers.1"), 0),),
    worker_kv_bytes_per_block=4096,
    enable_kv_cache_events=True,
    extra_config={},
    engine_id="one",
    model=OffloadingModelConfig("org/model", "float16"),
    cache=OffloadingCacheConfig(BLOCK_TOKENS, 1),
    parallel=PARALLEL,
    kv_cache_layout="NHD",
)
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": OffloadingModelConfig("org/other", "float16")},
    "dtype": {"model": OffloadingModelConfig("org/model", "bfloat16")},
    "layout": {"kv_cache_layout": "HND"},
    "canonical layout": {"canonical_layout": True},
    "replicated layout": {"replicated_layout": True},
    "bytes of a block": {"worker_kv_bytes_per_block": 8192},
    "tokens of a hash": {"cache": OffloadingCacheConfig(32, 1)},
    "blocks of a chunk": {"cache": OffloadingCacheConfig(BLOCK_TOKENS, 2)},
    "layers": {"groups": (OffloadingGroupConfig(BLOCK_TOKENS, ("layers.0",), 0),)},
    "tokens of a block": {"groups": (OffloadingGroupConfig(32, ("layers.0", "layers.1"), 0),)},
    "tensor parallelism": {"parallel": replace(PARALLEL, world_size=2, tp_size=2)},
    "pipeline parallelism": {"parallel": replace(PARALLEL, world_size=2, pp_size=2)},
    "prefill context parallelism": {"parallel": replace(PARALLEL, world_size=2, pcp_size=2)},
    "decode context parallelism": {"parallel": replace(PARALLEL, dcp_size=2)},
}
SAME: dict[str, dict[str, Any]] = {
    "rank": {"parallel": replace(PARALLEL, rank=1)},
    "replica": {"parallel": replace(PARALLEL, data_parallel_index=1, data_parallel_size=2)},
    "engine": {"engine_id": "two"},
    "events": {"enable_kv_cache_events": False},
}


def key(config: OffloadingConfig = CONFIG, weights: str = "w") -> bytes:
    words = Namespace(identity(config, weights)).words([make_offload_key(b"h" * 32, 0)])
    return words.tobytes()


@pytest.mark.parametrize("what", CHANGES)
def test_with_another_configuration_every_key_is_another(what: str) -> None:
    assert key(replace(CONFIG, **CHANGES[what])) != key()


@pytest.mark.parametrize("what", SAME)
def test_engines_of_one_box_have_the_same_keys(what: str) -> None:
    assert key(replace(CONFIG, **SAME[what])) == key()


def test_other_weights_of_the_same_name_have_other_keys() -> None:
    assert key(weights="other") != key()


def test_another_version_of_the_engine_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(vllm, "__version__", "0.0.0")
    assert key() != before


def test_another_platform_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(type(current_platform), "device_type", "other")
    assert key() != before


def test_no_two_changes_meet_in_one_key() -> None:
    found = [key(), *(key(replace(CONFIG, **change)) for change in CHANGES.values())]
    assert len(set(found)) == len(found)


def blocks(tokens: list[int] = TOKENS, salt: str | None = None, adapter: str | None = None) -> list[bytes]:
    """As the engine's scheduler calls them."""
    function = get_hash_fn_by_name("sha256")
    init_none_hash(function)
    return list(
        Request(
            "one",
            tokens,
            SamplingParams(max_tokens=1),
            None,
            cache_salt=salt,
            lora_request=None if adapter is None else LoRARequest(adapter, 1, "path"),
            block_hasher=get_request_block_hasher(BLOCK_TOKENS, function),
        ).block_hashes
    )


@pytest.mark.parametrize(
    "other", [blocks(salt="tenant"), blocks(adapter="sql"), blocks([7, *TOKENS[1:]])], ids=["salt", "LoRA", "head"]
)
def test_another_salt_adapter_or_head_changes_the_name_of_every_block_behind_it(other: list[bytes]) -> None:
    assert len(other) == len(blocks()) == 4
    assert set(other).isdisjoint(blocks())


def test_salts_and_adapters_do_not_mix() -> None:
    variants = [blocks(), blocks(salt="a"), blocks(salt="b"), blocks(adapter="a"), blocks(adapter="b")]
    variants.append(blocks(salt="a", adapter="a"))
    assert len({name for variant in variants for name in variant}) == 4 * len(variants)
