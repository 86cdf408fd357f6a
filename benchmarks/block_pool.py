"""What our block pool costs vLLM's scheduler: time per step of its KV-cache manager, against vLLM's own pool.

No engine runs: a stand-in for the scheduler admits, continues and frees made-up requests, with the real
`KVCacheManager` on both pools in turns. The pool is full from the first measured step on, so every new block evicts
another. Run: `python -m benchmarks.block_pool`.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import torch
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator, kv_cache_utils
from vllm.v1.core.block_pool import BlockPool
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.kv_hints import KvHintsEnvelope
from vllm.v1.request import Request

from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.plan_wire import encode_plan
from appliance.cache.tier import ALL_TIERS
from appliance.engine.retention.client import retention_hints
from appliance.engine.retention.manager import RetentionKVCacheManager
from appliance.engine.retention.pool import RetentionBlockPool

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


class Scheduler:
    """Chunked prefill, one token a step for whoever has read its prompt, and no more."""

    def __init__(self, manager: Any, requests: Iterator[Request], load: Load) -> None:
        self.manager = manager
        self.cached_tokens = 0
        self._requests = requests
        self._load = load
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._scheduled: list[tuple[Request, int]] = []

    def receive(self) -> bool:
        """Requests come in; False when none is left anywhere."""
        self._waiting.extend(islice(self._requests, self._load.running - len(self._waiting)))
        return bool(self._waiting or self._running)

    def schedule(self) -> None:
        """What is measured."""
        self.manager.new_step_starts()
        for request in [request for request in self._running if request.num_output_tokens == ANSWER_TOKENS]:
            self._running.remove(request)
            self.manager.free(request)
        budget = STEP_TOKENS
        for request in self._running:
            budget -= self._continue(request, budget)
        while self._waiting and len(self._running) < self._load.running and budget > 0:
            budget -= self._admit(self._waiting.popleft(), budget)
        self.manager.take_events()

    def compute(self) -> None:
        for request, count in self._scheduled:
            request.num_computed_tokens += count
            if request.num_computed_tokens == request.num_tokens:
                request.append_output_token_ids(request.num_tokens)
        self._scheduled.clear()

    def _continue(self, request: Request, budget: int) -> int:
        count = min(request.num_tokens - request.num_computed_tokens, budget)
        if count:
            assert self.manager.allocate_slots(request, count, num_lookahead_tokens=0) is not None
            self._scheduled.append((request, count))
        return count

    def _admit(self, request: Request, budget: int) -> int:
        found, cached, _ = self.manager.get_computed_blocks(request)
        self.cached_tokens += cached
        count = min(request.num_tokens - cached, budget)
        slots = self.manager.allocate_slots(
            request, count, num_new_computed_tokens=cached, new_computed_blocks=found, full_sequence_must_fit=True
        )
        assert slots is not None
        request.num_computed_tokens = cached
        self._running.append(request)
        self._scheduled.append((request, count))
        return count


def new_manager(load: Load, *, ours: bool) -> Any:
    spec = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=1, dtype=torch.float32)
    config = KVCacheConfig(load.blocks, [], [KVCacheGroupSpec(["layer"], spec)])
    kv_cache_coordinator.BlockPool = RetentionBlockPool if ours else BlockPool
    try:
        return (RetentionKVCacheManager if ours else KVCacheManager)(
            config,
            max_model_len=1 << 20,
            scheduler_block_size=BLOCK_TOKENS,
            hash_block_size=BLOCK_TOKENS,
            enable_kv_cache_events=True,
        )
    finally:
        kv_cache_coordinator.BlockPool = BlockPool


def seconds(load: Load, *, has_plans: bool) -> dict[bool, list[float]]:
    """Of each step in the last two thirds of all, without and with our pool: both do the same step one after the other,
    so that what else the machine does slows both."""
    schedulers = {
        ours: Scheduler(new_manager(load, ours=ours), iter(Sessions(load, has_plans=has_plans)), load)
        for ours in (False, True)
    }
    times: dict[bool, list[float]] = {False: [], True: []}
    gc.collect()
    gc.disable()
    while all([scheduler.receive() for scheduler in schedulers.values()]):
        for ours, scheduler in schedulers.items():
            start = time.thread_time()
            scheduler.schedule()
            times[ours].append(time.thread_time() - start)
            scheduler.compute()
    gc.enable()
    for ours, scheduler in schedulers.items():
        print(f"  {'ours' if ours else 'vLLM':4}  {scheduler.cached_tokens:12,} prompt tokens found")
    return {ours: each[len(each) // 3 :] for ours, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    kv_cache_utils.init_none_hash(sha256)
    seconds(Load(4000, 4, 4, 2), has_plans=True)
    for has_plans in (False, True):
        print("claims on every block" if has_plans else "no claims")
        measured = seconds(Load(given.blocks, given.running, given.sessions, given.turns), has_plans=has_plans)
        for ours, times in measured.items():
            rows = f"mean {statistics.fmean(times) * 1e6:6.0f}, median {statistics.median(times) * 1e6:6.0f} µs a step"
            print(f"  {'ours' if ours else 'vLLM':4}  {rows}")
        print(f"  mean {_change(statistics.fmean, measured):+.1%}, median {_change(statistics.median, measured):+.1%}")


def _change(middle: Callable[[list[float]], float], measured: dict[bool, list[float]]) -> float:
    return middle(measured[True]) / middle(measured[False]) - 1


if __name__ == "__main__":
    main()
