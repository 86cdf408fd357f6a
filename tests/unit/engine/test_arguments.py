from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vllm.engine.arg_utils import AsyncEngineArgs

from appliance.cache.arena.place import ArenaPlace
from appliance.engine import arguments
from appliance.engine.arguments import CPU_BATCH_TOKENS, CPU_BLOCK_TOKENS, GPU_BLOCK_TOKENS, engine_config
from appliance.engine.model import Model
from appliance.engine.plan import CPU_KV_BYTES, WorkerPlan
from appliance.engine.weights import weights_digest
from appliance.settings import Settings

GIB = 1 << 30


class Configured:
    """Makes the configuration of one of two workers, with vLLM's own checks where no GPU is planned for."""

    def __init__(self, model: Model, plan: WorkerPlan) -> None:
        self.model = model
        self.plan = plan

    def __call__(self, reasoning_parser: str | None = None, **tables: Any) -> Any:
        settings = Settings.model_validate({"model": {"name": self.model.source}} | tables)
        return engine_config(settings, self.model, self.plan, reasoning_parser=reasoning_parser)


@pytest.fixture
def on_cpu(tiny_model: Model, plan: WorkerPlan) -> Configured:
    return Configured(tiny_model, plan)


@pytest.fixture
def on_gpu(tiny_model: Model, plan: WorkerPlan, monkeypatch: pytest.MonkeyPatch) -> Configured:
    """A fake: returns the arguments as given, for vLLM would look for the GPUs."""
    monkeypatch.setattr(AsyncEngineArgs, "create_engine_config", lambda given: given)
    return Configured(tiny_model, replace(plan, cpus=(), gpus=(2, 3)))


# On the CPU: what vLLM makes of it


def test_a_worker_serves_the_model_under_its_public_name(on_cpu: Configured) -> None:
    made = on_cpu()
    assert (made.model_config.model, made.model_config.served_model_name) == (on_cpu.model.source, "tiny")


def test_requests_are_ordered_by_priority(on_cpu: Configured) -> None:
    assert on_cpu().scheduler_config.policy == "priority"


def test_a_worker_publishes_its_cache_on_its_own_sockets(on_cpu: Configured) -> None:
    made = on_cpu().kv_events_config
    assert made.enable_kv_cache_events
    assert (made.publisher, made.endpoint, made.replay_endpoint) == ("zmq", on_cpu.plan.events, on_cpu.plan.replay)


def test_a_cache_of_no_bytes_is_no_prefix_cache_and_says_nothing(on_cpu: Configured) -> None:
    made = on_cpu(cache={"gpu": {"bytes": 0}})
    assert not made.cache_config.enable_prefix_caching
    assert not made.kv_events_config.enable_kv_cache_events
    assert made.cache_config.kv_cache_memory_bytes == CPU_KV_BYTES


def test_blocks_and_their_memory_have_defaults_of_ours(on_cpu: Configured) -> None:
    made = on_cpu()
    assert made.cache_config.enable_prefix_caching
    assert (made.cache_config.block_size, made.cache_config.kv_cache_memory_bytes) == (CPU_BLOCK_TOKENS, CPU_KV_BYTES)
    assert made.scheduler_config.max_num_batched_tokens == CPU_BATCH_TOKENS


def test_blocks_and_their_memory_follow_the_settings(on_cpu: Configured) -> None:
    made = on_cpu(cache={"gpu": {"bytes": 3 * GIB, "block_size": 64}}, workers={"max_num_seqs": 5})
    assert (made.cache_config.block_size, made.cache_config.kv_cache_memory_bytes) == (64, 3 * GIB)
    assert made.scheduler_config.max_num_seqs == 5


@pytest.mark.parametrize(("setting", "eager"), [(None, True), (True, True), (False, False)])
def test_nothing_is_compiled_for_a_cpu_unless_asked_for(on_cpu: Configured, setting: bool | None, eager: bool) -> None:
    assert on_cpu(workers={"enforce_eager": setting}).model_config.enforce_eager is eager


@pytest.mark.parametrize(("native", "dtype"), [(True, "torch.bfloat16"), (False, "torch.float32")])
def test_the_cpu_computes_in_what_it_has_in_hardware(
    on_cpu: Configured, monkeypatch: pytest.MonkeyPatch, native: bool, dtype: str
) -> None:
    monkeypatch.setattr(arguments, "has_native_bfloat16", lambda: native)
    assert str(on_cpu().model_config.dtype) == dtype


def test_a_dtype_that_was_asked_for_is_used(on_cpu: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "has_native_bfloat16", lambda: False)
    assert str(on_cpu(model={"name": on_cpu.model.source, "dtype": "bfloat16"}).model_config.dtype) == "torch.bfloat16"


def test_a_shorter_context_can_be_set(on_cpu: Configured) -> None:
    made = on_cpu(model={"name": on_cpu.model.source, "max_model_len": 512})
    assert made.model_config.max_model_len == 512


def test_overrides_reach_the_models_own_configuration(on_cpu: Configured) -> None:
    on_cpu.model = on_cpu.model._replace(hf_overrides={"max_position_embeddings": 256})
    assert on_cpu().model_config.max_model_len == 256


@pytest.mark.parametrize(("parser", "told"), [("qwen3", "qwen3"), (None, "")])
def test_the_engine_knows_how_thinking_ends_so_that_grammars_wait_for_it(
    on_cpu: Configured, parser: str | None, told: str
) -> None:
    assert on_cpu(reasoning_parser=parser).structured_outputs_config.reasoning_parser == told


def test_vllm_picks_the_grammar_back_end_for_each_request(on_cpu: Configured) -> None:
    assert on_cpu().structured_outputs_config.backend == "auto"


def test_what_vllm_cannot_serve_is_refused_in_its_words(on_cpu: Configured) -> None:
    with pytest.raises(ValueError, match="max_model_len"):
        on_cpu(model={"name": on_cpu.model.source, "max_model_len": 1 << 20})


@pytest.fixture(params=["on_cpu", "on_gpu"])
def anywhere(request: pytest.FixtureRequest) -> Configured:
    found: Configured = request.getfixturevalue(request.param)
    return found


def test_without_an_arena_there_is_no_host_tier(anywhere: Configured) -> None:
    assert anywhere().kv_transfer_config is None


def test_all_workers_share_one_arena_that_holds_answers_too(anywhere: Configured) -> None:
    anywhere.plan = replace(anywhere.plan, arena=ArenaPlace(Path("/memory/x"), Path("/run/x/arena")))
    tier = anywhere(cache={"host": {"bytes": 9 * GIB}}).kv_transfer_config
    assert (tier.kv_connector, tier.kv_role, tier.kv_load_failure_policy) == (
        "OffloadingConnector",
        "kv_both",
        "recompute",
    )
    told = dict(tier.kv_connector_extra_config)
    assert told.pop("weights") == weights_digest(anywhere.model.source, "auto")
    assert told == {
        "spec_name": "ArenaSpec",
        "spec_module_path": "appliance.engine.host_tier.spec",
        "offload_prompt_only": False,
        "arena_memory": "/memory/x",
        "arena_locks": "/run/x/arena",
        "arena_bytes": 9 * GIB,
    }


# On GPUs: what vLLM is asked for


def test_a_gpu_worker_gets_its_cards_and_leaves_the_size_of_its_cache_to_vllm(on_gpu: Configured) -> None:
    made = on_gpu(workers={"tensor_parallel": 2, "gpu_memory_utilization": 0.8})
    assert (made.device_ids, made.tensor_parallel_size, made.gpu_memory_utilization) == ([2, 3], 2, 0.8)
    assert (made.block_size, made.kv_cache_memory_bytes) == (GPU_BLOCK_TOKENS, None)
    assert (made.dtype, made.enforce_eager) == ("auto", False)


def test_a_gpu_workers_cache_follows_the_settings(on_gpu: Configured) -> None:
    made = on_gpu(cache={"gpu": {"bytes": 2 * GIB, "block_size": 32}}, workers={"enforce_eager": True})
    assert (made.kv_cache_memory_bytes, made.block_size, made.enforce_eager) == (2 * GIB, 32, True)
