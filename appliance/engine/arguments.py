"""Our settings as one worker's vLLM configuration."""

from __future__ import annotations

from typing import Any

from vllm.config import KVEventsConfig, KVTransferConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs

from appliance.cache.arena.place import ArenaPlace
from appliance.engine.hardware import has_native_bfloat16
from appliance.engine.model import Model
from appliance.engine.plan import CPU_KV_BYTES, WorkerPlan
from appliance.engine.weights import weights_digest
from appliance.settings import Settings

CPU_BLOCK_TOKENS = 32
GPU_BLOCK_TOKENS = 16
# One prefill chunk of 512 tokens takes about a second on a core; running streams wait that long between tokens.
CPU_BATCH_TOKENS = 512


def engine_config(settings: Settings, model: Model, plan: WorkerPlan, *, reasoning_parser: str | None) -> VllmConfig:
    """The configuration of one worker.

    Raises what vLLM raises on a model that it can't serve (`ValueError`, `OSError`)."""
    arguments: dict[str, Any] = {
        "model": model.source,
        "served_model_name": model.served_name,
        "dtype": settings.model.dtype,
        "load_format": settings.model.load_format,
        "trust_remote_code": settings.model.trust_remote_code,
        "max_model_len": settings.model.max_model_len,
        "tensor_parallel_size": settings.workers.tensor_parallel,
        "scheduling_policy": "priority",
        "enable_prefix_caching": settings.cache.gpu.bytes != 0,
        "kv_events_config": _kv_events(settings, plan),
        "reasoning_parser": reasoning_parser or "",
        "max_num_seqs": settings.workers.max_num_seqs,
        # Each step tells what it computed and how long it waited for the model: `load.EngineLoad`.
        "enable_logging_iteration_details": True,
    }
    if model.hf_overrides:
        arguments["hf_overrides"] = model.hf_overrides
    arguments |= _on_gpu(settings, plan) if plan.gpus else _on_cpu(settings)
    if plan.arena is not None:
        arguments["kv_transfer_config"] = _host_tier(settings, model, plan.arena)
    return AsyncEngineArgs(**arguments).create_engine_config()


def _kv_events(settings: Settings, plan: WorkerPlan) -> KVEventsConfig:
    enabled = settings.cache.gpu.bytes != 0
    if not enabled:
        return KVEventsConfig(enable_kv_cache_events=False)
    return KVEventsConfig(
        enable_kv_cache_events=True, publisher="zmq", endpoint=plan.events, replay_endpoint=plan.replay
    )


def _on_cpu(settings: Settings) -> dict[str, Any]:
    kv_bytes, block = settings.cache.gpu.bytes, settings.cache.gpu.block_size
    eager = settings.workers.enforce_eager
    return {
        "block_size": CPU_BLOCK_TOKENS if block == "auto" else block,
        "kv_cache_memory_bytes": kv_bytes if isinstance(kv_bytes, int) and kv_bytes else CPU_KV_BYTES,
        "enforce_eager": True if eager is None else eager,
        "dtype": _cpu_dtype() if settings.model.dtype == "auto" else settings.model.dtype,
        "max_num_batched_tokens": CPU_BATCH_TOKENS,
    }


def _cpu_dtype() -> str:
    """vLLM's own choice is bfloat16, whatever the weights; a core without it prefills 4.7 times slower (measured)."""
    return "auto" if has_native_bfloat16() else "float32"


def _on_gpu(settings: Settings, plan: WorkerPlan) -> dict[str, Any]:
    kv_bytes, block = settings.cache.gpu.bytes, settings.cache.gpu.block_size
    arguments: dict[str, Any] = {
        "block_size": GPU_BLOCK_TOKENS if block == "auto" else block,
        "enforce_eager": bool(settings.workers.enforce_eager),
        "gpu_memory_utilization": settings.workers.gpu_memory_utilization,
        "device_ids": list(plan.gpus),
    }
    if isinstance(kv_bytes, int) and kv_bytes:
        arguments["kv_cache_memory_bytes"] = kv_bytes
    return arguments


def _host_tier(settings: Settings, model: Model, arena: ArenaPlace) -> KVTransferConfig:
    """vLLM's connector over the arena of all workers. Decoded tokens go down too: the next turn's prompt holds them.

    A block a row: a longer chunk would have to be complete before any of it could be kept.
    """
    return KVTransferConfig(
        kv_connector="OffloadingConnector",
        kv_role="kv_both",
        kv_load_failure_policy="recompute",
        kv_connector_extra_config={
            "spec_name": "ArenaSpec",
            "spec_module_path": "appliance.engine.host_tier.spec",
            "offload_prompt_only": False,
            "arena_memory": str(arena.memory),
            "arena_locks": str(arena.locks),
            "arena_bytes": settings.cache.host.bytes,
            "weights": weights_digest(model.source, settings.model.load_format),
        },
    )
