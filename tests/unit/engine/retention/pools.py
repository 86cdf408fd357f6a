"""KV-cache managers without an engine, with our pool and with vLLM's own, and the requests that they serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import torch
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_coordinator, kv_cache_utils
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec, SlidingWindowSpec
from vllm.v1.request import Request

from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.plan_wire import Lead, encode_plan
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.engine.retention.client import retention_hints
from appliance.engine.retention.manager import RetentionKVCacheManager
from appliance.engine.retention.pool import RetentionBlockPool
from appliance.engine.retention.retention import Retention

BLOCK_TOKENS = 4
kv_cache_utils.init_none_hash(sha256)
_names = count()


class Clock:
    """Milliseconds, told by the test. They start after any that the machine's own clock can have shown."""

    def __init__(self) -> None:
        self.now_ms = 10**11

    def __call__(self) -> int:
        return self.now_ms


def full_attention() -> KVCacheGroupSpec:
    return KVCacheGroupSpec(
        ["full"], FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=1, dtype=torch.float32)
    )


def sliding_window(tokens: int) -> KVCacheGroupSpec:
    spec = SlidingWindowSpec(
        block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=1, dtype=torch.float32, sliding_window=tokens
    )
    return KVCacheGroupSpec(["window"], spec)


@contextmanager
def our_pool() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_cache_coordinator, "BlockPool", RetentionBlockPool)
        yield


def new_manager(num_blocks: int, *groups: KVCacheGroupSpec, stock: bool = False, clock: Clock | None = None) -> Any:
    """One block of them is vLLM's null block. `clock` replaces the machine's, for our pool."""
    config = KVCacheConfig(num_blocks, [], list(groups or (full_attention(),)))
    arguments = {"max_model_len": 4096, "scheduler_block_size": BLOCK_TOKENS, "hash_block_size": BLOCK_TOKENS}
    if stock:
        return KVCacheManager(config, **arguments)
    with our_pool():
        manager = RetentionKVCacheManager(config, **arguments)
    if clock is not None:
        manager.retention.table._clock = clock
        manager.new_step_starts()
    return manager


def new_request(
    token_ids: Sequence[int],
    *,
    plan: RetentionPlan | None = None,
    session: str | None = None,
    name: str | None = None,
    lead: Lead | None = None,
) -> Request:
    name = name or f"r{next(_names)}"
    return Request(
        name,
        list(token_ids),
        SamplingParams(max_tokens=64),
        None,
        block_hasher=kv_cache_utils.get_request_block_hasher(BLOCK_TOKENS, sha256),
        session_id=session,
        kv_hints=None if plan is None else retention_hints(encode_plan(plan, session, lead), name),
    )


def new_plan(*pieces: tuple[int, int] | tuple[int, int, float | None], output: int = 0) -> RetentionPlan:
    """Of pieces of so many tokens: what each is worth, and for how many seconds."""
    directives, start = [], 0
    for number, (tokens, priority, *duration) in enumerate(pieces):
        rule = f"test.toml:{number + 1}"
        seconds = duration[0] if duration else None
        directives.append(Directive(start, start + tokens, priority, seconds, ALL_TIERS, rule))
        start += tokens
    directives.append(Directive(start, None, output, None, ALL_TIERS, "test.toml:99"))
    return RetentionPlan(tuple(directives))


def nowhere_on_gpu(tokens: int) -> RetentionPlan:
    where = Tier.HOST
    return RetentionPlan(
        (Directive(0, tokens, 90, None, where, "test.toml:1"), Directive(tokens, None, 90, None, where, "test.toml:2"))
    )


class Served:
    """Steps of a scheduler for one manager, each request by itself."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    @property
    def retention(self) -> Retention:
        retention: Retention = self.manager.retention
        return retention

    def admit(self, request: Request, chunk: int | None = None) -> int | None:
        """How many prompt tokens were found in the cache; `None` when there was no room."""
        found, cached, _ = self.manager.get_computed_blocks(request)
        tokens = request.num_tokens - cached if chunk is None else min(chunk, request.num_tokens - cached)
        slots = self.manager.allocate_slots(request, tokens, num_new_computed_tokens=cached, new_computed_blocks=found)
        if slots is None:
            return None
        request.num_computed_tokens = cached + tokens
        return int(cached)

    def go_on(self, request: Request, chunk: int | None = None) -> bool:
        """The next chunk of its prompt, or the token that it has generated. False when there was no room."""
        tokens = request.num_tokens - request.num_computed_tokens
        tokens = tokens if chunk is None else min(chunk, tokens)
        if self.manager.allocate_slots(request, tokens, num_lookahead_tokens=0) is None:
            return False
        request.num_computed_tokens += tokens
        return True

    def load(self, request: Request, tokens: int) -> None:
        """Admit a request of which so many tokens come from a connector, later; `loaded` says when."""
        slots = self.manager.allocate_slots(
            request,
            0,
            new_computed_blocks=self.manager.empty_kv_cache_blocks,
            num_external_computed_tokens=tokens,
            delay_cache_blocks=True,
        )
        assert slots is not None
        request.num_computed_tokens = tokens

    def loaded(self, request: Request) -> None:
        self.manager.cache_blocks(request, request.num_computed_tokens)

    def generate(self, request: Request, token_ids: Sequence[int]) -> None:
        for token in token_ids:
            request.append_output_token_ids(token)
            assert self.go_on(request)

    def serve(self, request: Request, answer: Sequence[int] = ()) -> int:
        """From admission to the end; how many prompt tokens were found."""
        self.manager.new_step_starts()
        found = self.admit(request)
        assert found is not None
        self.generate(request, answer)
        self.manager.free(request)
        self.check()
        return found

    def found(self, token_ids: Sequence[int]) -> int:
        """How many of the tokens a prompt would find, which changes nothing."""
        return int(self.manager.get_computed_blocks(new_request([*token_ids, -1]))[1])

    def flood(self, blocks: int, start: int = 1000) -> None:
        """Prompts that nobody has sent before, of two blocks each."""
        for number in range(blocks // 2):
            self.serve(new_request(range(start + 100 * number, start + 100 * number + 2 * BLOCK_TOKENS)))

    def check(self) -> None:
        self.retention.check_integrity()


def served(num_blocks: int, *groups: KVCacheGroupSpec, clock: Clock | None = None) -> Served:
    return Served(new_manager(num_blocks, *groups, clock=clock))
