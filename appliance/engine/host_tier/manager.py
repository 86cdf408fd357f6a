"""The scheduler's side of the host tier: what is there, what goes down, and what it is worth.

All calls come from one scheduler, in a fixed order within a step: lookups, then loads of what was found, then
`on_schedule_end`, then stores. So a lookup leases all that it finds until the end of its step; a load takes a lease of
its own before that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from vllm.v1.kv_offload.base import (
    LookupResult,
    OffloadingManager,
    OffloadKey,
    PrepareStoreOutput,
    ReqContext,
    RequestOffloadingContext,
    ScheduleEndContext,
)
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.kernels import BEING_WRITTEN_BY_US, MISS
from appliance.cache.arena.tables import KEY_WORDS, Keys, Numbers
from appliance.cache.errors import InvalidRange
from appliance.cache.layout import DEFAULT_PRIORITY, FOREVER
from appliance.cache.plan import RetentionPlan
from appliance.cache.plan_wire import decode_plan
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.engine.host_tier.identity import Namespace
from appliance.engine.retention.worths import retain_payload, scope_of

FIRST_LOOKUP: Final = 32
"""Keys looked up at once at first, then four times as many, and so on: a miss at the head costs little."""
WAIT_SECONDS: Final = 0.25
"""How long a request waits for a block that another engine is writing, before it computes the block itself. The engine
polls meanwhile, which takes half a core, and a long prefill may hold its rows for seconds."""


@dataclass(slots=True)
class _Request:
    """What is known of one request. `keys` are its chunks by KV-cache group, in order; `seen` are sorted in."""

    session: str | None
    plan: RetentionPlan | None
    keys: dict[bytes, list[OffloadKey]] = field(default_factory=dict)
    seen: int = 0
    wait_until: float | None = None


class _Chunk(NamedTuple):
    group: bytes
    number: int


class ArenaManager(OffloadingManager):  # type: ignore[misc]  # vllm is not typed
    """`tokens_per_chunk` is by KV-cache group. All groups are taken for full attention: a chunk is looked for behind
    the one before it only."""

    def __init__(
        self,
        index: ArenaIndex,
        namespace: Namespace,
        tokens_per_chunk: dict[int, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.index = index
        self.num_bad_plans = 0
        """Requests whose plan could not be read; they claim nothing."""
        self._namespace = namespace
        self._tokens = {group.to_bytes(4, "big"): tokens for group, tokens in tokens_per_chunk.items()}
        self._clock = clock
        self._found: dict[OffloadKey, int] = {}
        """Of this step's lookups, by key: a row, or what `look_up` says instead."""
        self._leased: list[Numbers] = []

    def on_new_request(self, req_context: ReqContext) -> RequestOffloadingContext:
        self._request(req_context)
        return RequestOffloadingContext()

    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        found = self._found.get(key)
        if found is None:
            found = self._look_up_rest(key, req_context)
        if found >= 0:
            return LookupResult.HIT
        if found == MISS:
            return LookupResult.MISS
        if found == BEING_WRITTEN_BY_US:
            return LookupResult.HIT_PENDING
        return self._wait(self._request(req_context))

    def get_load_source(self, key: OffloadKey, req_context: ReqContext) -> CacheHitSource:  # noqa: ARG002  # vLLM's
        return CacheHitSource.HOST

    def prepare_load(self, keys: Collection[OffloadKey], req_context: ReqContext) -> CPULoadStoreSpec:
        """A key that this step's lookups did not find would be a change in vLLM's order of calls: `KeyError`."""
        request = self._request(req_context)
        rows = np.fromiter((self._found[key] for key in keys), np.int64, len(keys))
        self.index.lease(rows, request.session, self._worth(request, list(keys), req_context)[0])
        return CPULoadStoreSpec(rows)

    def complete_load(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        in_order = self._in_order(keys, req_context)
        self.index.release(self.index.rows_of(self._namespace.words(in_order)))

    def prepare_store(self, keys: Collection[OffloadKey], req_context: ReqContext) -> PrepareStoreOutput:
        offered = list(keys)
        is_allowed = self._worth(self._request(req_context), offered, req_context)[1]
        wanted = [key for key, allowed in zip(offered, is_allowed.tolist(), strict=True) if allowed]
        if not wanted:
            return PrepareStoreOutput([], CPULoadStoreSpec([]), [])
        rows = self.index.begin_store(self._namespace.words(wanted))
        chosen = rows != MISS
        stored = [key for key, is_new in zip(wanted, chosen.tolist(), strict=True) if is_new]
        return PrepareStoreOutput(stored, CPULoadStoreSpec(rows[chosen]), [])

    def complete_store(
        self, keys: Collection[OffloadKey], req_context: ReqContext, success: bool = True
    ) -> None:  # vLLM's
        request = self._request(req_context)
        in_order = self._in_order(keys, req_context)
        words = self._namespace.words(in_order)
        worth, _, barred = self._worth(request, in_order, req_context)
        parents = self._parents(request, in_order, req_context)
        self.index.end_store(words, parents, request.session, worth, is_whole=success, barred=barred)

    def on_schedule_end(self, context: ScheduleEndContext) -> None:  # noqa: ARG002  # vLLM's
        self._end_step()

    def reset_cache(self) -> None:
        """vLLM forgets its jobs, whose ends will not be told. The arena is not this engine's alone and keeps the
        rest."""
        self._end_step()
        self.index.give_up()

    def shutdown(self) -> None:
        self._end_step()
        self.index.close()

    def _end_step(self) -> None:
        if self._leased:
            self.index.release(np.concatenate(self._leased))
        self._leased.clear()
        self._found.clear()

    def _request(self, context: ReqContext) -> _Request:
        known: _Request | None = context.get_state(_Request)
        if known is None:
            payload = retain_payload(context.kv_hints)
            plan = None
            if payload is not None:
                try:
                    plan = decode_plan(payload)
                except InvalidRange:
                    self.num_bad_plans += 1
            known = _Request(scope_of(payload), plan)
            context.set_state(known)
        return known

    def _look_up_rest(self, key: OffloadKey, context: ReqContext) -> int:
        """Look up the request's chunks from this one on, under one lock as long as they are found."""
        wanted = self._chain(self._request(context), context, key)
        start, count = 0, FIRST_LOOKUP
        while start < len(wanted):
            asked = wanted[start : start + count]
            rows = self.index.look_up(self._namespace.words(asked))
            self._found.update(zip(asked, rows.tolist(), strict=False))
            self._leased.append(rows[rows >= 0])
            if len(rows) < len(asked) or rows[-1] == MISS:
                break
            start, count = start + count, 4 * count
        return self._found[key]

    def _chain(self, request: _Request, context: ReqContext, key: OffloadKey) -> list[OffloadKey]:
        """The request's chunks of the key's group from the key on."""
        chunks = self._keys(request, context).get(key[-4:], [])
        number = self._chunk(key, context).number
        return chunks[number:] if number < len(chunks) and chunks[number] == key else [key]

    def _keys(self, request: _Request, context: ReqContext) -> dict[bytes, list[OffloadKey]]:
        positions = context._offload_key_positions  # noqa: SLF001  # in the order of the chain, which no getter tells
        if len(positions) > request.seen:
            for key in islice(positions, request.seen, None):
                request.keys.setdefault(key[-4:], []).append(key)
            request.seen = len(positions)
        return request.keys

    def _wait(self, request: _Request) -> LookupResult:
        now = self._clock()
        if request.wait_until is None:
            request.wait_until = now + WAIT_SECONDS
        return LookupResult.HIT_PENDING if now < request.wait_until else LookupResult.MISS

    def _chunk(self, key: OffloadKey, context: ReqContext) -> _Chunk:
        end = context.get_offload_key_position(key) or 0
        return _Chunk(key[-4:], end // self._tokens[key[-4:]] - 1)

    def _in_order(self, keys: Collection[OffloadKey], context: ReqContext) -> list[OffloadKey]:
        """vLLM tells of what is done as a set; the order decides whose turn to go it is first."""
        return sorted(keys, key=lambda key: context.get_offload_key_position(key) or 0)

    def _parents(self, request: _Request, keys: list[OffloadKey], context: ReqContext) -> Keys:
        chunks = self._keys(request, context)
        places = [self._chunk(key, context) for key in keys]
        parents = np.zeros((len(keys), KEY_WORDS), np.uint64)
        inner = [place for place, (group, number) in enumerate(places) if 0 < number <= len(chunks.get(group, ()))]
        if inner:
            before = [chunks[places[place].group][places[place].number - 1] for place in inner]
            parents[inner] = self._namespace.words(before)
        return parents

    def _worth(
        self, request: _Request, keys: list[OffloadKey], context: ReqContext
    ) -> tuple[Worth, NDArray[np.bool_], Numbers]:
        """What the blocks are worth here, which of them may be here at all, and in which tiers they may not be."""
        count = len(keys)
        if request.plan is None:
            worth = Worth(np.full(count, DEFAULT_PRIORITY, np.int64), np.full(count, FOREVER, np.int64))
            return worth, np.ones(count, np.bool_), np.zeros(count, np.int64)
        ends = np.fromiter((context.get_offload_key_position(key) or 0 for key in keys), np.int64, count)
        tokens = np.fromiter((self._tokens[key[-4:]] for key in keys), np.int64, count)
        plan = request.plan.for_first_tokens(ends - tokens)
        host = plan.in_tier(Tier.HOST)
        barred = (plan.tiers ^ ALL_TIERS.value).astype(np.int64)
        worth = Worth(host.priority.astype(np.int64), host.duration_ms)
        return worth, (plan.tiers & Tier.HOST.value) != 0, barred
