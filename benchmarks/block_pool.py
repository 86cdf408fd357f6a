"""What our block pool costs vLLM's scheduler: time per step, against vLLM's own pool.

No engine runs and no model: vLLM's real scheduler is given made-up conversations and made-up tokens, once with each
pool, step by step in turns. The pool is full from the first measured step on, so every new block evicts another. Time
is processor time of the one thread. Run: `python -m benchmarks.block_pool`.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from vllm.config import KVEventsConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.envs import enable_envs_cache
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator, kv_cache_utils
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.sched import scheduler
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.kv_hints import KvHintsEnvelope
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.plan_wire import encode_plan
from appliance.cache.tier import ALL_TIERS
from appliance.engine.retention.client import retention_hints
from appliance.engine.retention.manager import RetentionKVCacheManager
from appliance.engine.retention.pool import RetentionBlockPool

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 1 << 30,
    "max_position_embeddings": 1 << 17,
    "torch_dtype": "float32",
}
BLOCK_TOKENS = 16
SYSTEM_TOKENS = 4096
TURN_TOKENS = 1024
ANSWER_TOKENS = 128
STEP_TOKENS = 8192
"""Prompt tokens that one step computes at most, of all requests together."""


@dataclass(frozen=True)
class Load:
    """`running` requests at a time of `sessions` that take turns; each turn's prompt is the whole conversation."""

    blocks: int
    running: int
    sessions: int
    turns: int


class Sessions:
    """The same made-up requests for whoever asks, in the same order."""

    def __init__(self, load: Load, *, has_plans: bool) -> None:
        self._hasher = kv_cache_utils.get_request_block_hasher(BLOCK_TOKENS, sha256)
        self._has_plans = has_plans
        self._load = load
        self._numbers = count()

    def __iter__(self) -> Iterator[Request]:
        for turn in range(self._load.turns):
            for session in range(self._load.sessions):
                yield self._request(session, turn)

    def _request(self, session: int, turn: int) -> Request:
        own = [1000 + session * 100_000 + place for place in range((turn + 1) * (TURN_TOKENS + ANSWER_TOKENS))]
        prompt = [*range(SYSTEM_TOKENS), *own[: len(own) - ANSWER_TOKENS]]
        name = f"s{session}"
        return Request(
            f"r{next(self._numbers)}",
            prompt,
            SamplingParams(max_tokens=ANSWER_TOKENS),
            None,
            block_hasher=self._hasher,
            session_id=name,
            kv_hints=_hints(name, len(prompt)) if self._has_plans else None,
        )


def _hints(session: str, tokens: int) -> KvHintsEnvelope | None:
    plan = RetentionPlan(
        (
            Directive(0, SYSTEM_TOKENS, 90, 3600.0, ALL_TIERS, "coding-agent.toml:9"),
            Directive(SYSTEM_TOKENS, tokens, 60, 30.0, ALL_TIERS, "coding-agent.toml:66"),
            Directive(tokens, None, 10, None, ALL_TIERS, "coding-agent.toml:44"),
        )
    )
    return retention_hints(encode_plan(plan, session), session)


class Engine:
    """vLLM's scheduler with a model that samples at once: what is timed is all that the scheduler does in a step."""

    def __init__(self, config: VllmConfig, load: Load, requests: Iterator[Request], *, ours: bool) -> None:
        self.cached_tokens = 0
        self._scheduler = _new_scheduler(config, load, ours=ours)
        self._requests = requests
        self._load = load

    def receive(self) -> bool:
        """As many requests come in as have room; False when none is left anywhere."""
        for request in islice(self._requests, self._load.running - len(self._scheduler.requests)):
            self._scheduler.add_request(request)
        return bool(self._scheduler.requests)

    def step(self) -> float:
        """Seconds of one step."""
        began = time.thread_time()
        scheduled = self._scheduler.schedule()
        seconds = time.thread_time() - began
        self.cached_tokens += sum(new.num_computed_tokens for new in scheduled.scheduled_new_reqs)
        sampled = self._sample(scheduled.num_scheduled_tokens)
        began = time.thread_time()
        self._scheduler.update_from_output(scheduled, sampled)
        return seconds + time.thread_time() - began

    def _sample(self, scheduled: dict[str, int]) -> ModelRunnerOutput:
        names = list(scheduled)
        requests = [self._scheduler.requests[name] for name in names]
        is_read = [request.num_computed_tokens >= request.num_tokens for request in requests]
        tokens = [[request.num_tokens] if read else [] for request, read in zip(requests, is_read, strict=True)]
        return ModelRunnerOutput(names, {name: place for place, name in enumerate(names)}, tokens)


def _new_scheduler(config: VllmConfig, load: Load, *, ours: bool) -> Any:
    spec = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=1, dtype=torch.float32)
    cache = KVCacheConfig(load.blocks, [], [KVCacheGroupSpec(["layer"], spec)])
    kv_cache_coordinator.BlockPool = RetentionBlockPool if ours else BlockPool
    scheduler.KVCacheManager = RetentionKVCacheManager if ours else KVCacheManager
    return AsyncScheduler(config, cache, StructuredOutputManager(config), BLOCK_TOKENS)


def _configuration(load: Load, folder: Path) -> VllmConfig:
    (folder / "config.json").write_text(json.dumps(MODEL))
    config = AsyncEngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        block_size=BLOCK_TOKENS,
        max_num_seqs=load.running,
        max_num_batched_tokens=STEP_TOKENS,
        kv_events_config=KVEventsConfig(enable_kv_cache_events=True, publisher="null"),
    ).create_engine_config()
    config.cache_config.num_gpu_blocks = load.blocks
    return config


def seconds(config: VllmConfig, load: Load, *, has_plans: bool) -> dict[bool, list[float]]:
    """Of each step in the last two thirds of all, without and with our pool: both do the same step one after the other,
    so that what else the machine does slows both."""
    engines = {
        ours: Engine(config, load, iter(Sessions(load, has_plans=has_plans)), ours=ours) for ours in (False, True)
    }
    times: dict[bool, list[float]] = {False: [], True: []}
    gc.collect()
    gc.disable()
    while [engine.receive() for engine in engines.values()] != [False, False]:
        for ours, engine in engines.items():
            times[ours].append(engine.step())
    gc.enable()
    for ours, engine in engines.items():
        print(f"  {'ours' if ours else 'vLLM':4}  {engine.cached_tokens:12,} prompt tokens found")
    return {ours: each[len(each) // 3 :] for ours, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    enable_envs_cache()  # as an engine does when it has started
    kv_cache_utils.init_none_hash(sha256)
    load = Load(given.blocks, given.running, given.sessions, given.turns)
    with TemporaryDirectory() as folder:
        config = _configuration(load, Path(folder))
    seconds(config, Load(4000, 4, 4, 2), has_plans=True)
    for has_plans in (False, True):
        print("claims on every block" if has_plans else "no claims")
        measured = seconds(config, load, has_plans=has_plans)
        for ours, times in measured.items():
            rows = f"mean {statistics.fmean(times) * 1e6:6.0f}, median {statistics.median(times) * 1e6:6.0f} µs a step"
            print(f"  {'ours' if ours else 'vLLM':4}  {rows}")
        print(f"  mean {_change(statistics.fmean, measured):+.1%}, median {_change(statistics.median, measured):+.1%}")


def _change(middle: Callable[[list[float]], float], measured: dict[bool, list[float]]) -> float:
    return middle(measured[True]) / middle(measured[False]) - 1


if __name__ == "__main__":
    main()
