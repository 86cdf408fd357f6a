"""Random requests on our pool and on vLLM's own: without claims, and by last use, they do the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from vllm.v1.request import Request

from tests.examples import examples
from tests.unit.engine.retention.pools import (
    BLOCK_TOKENS,
    Clock,
    Served,
    full_attention,
    new_manager,
    new_plan,
    new_request,
    sliding_window,
)

NUM_BLOCKS = 24
SESSIONS = ["lead", "subagent", "other", None]

prompts = st.builds(
    lambda family, shared, own, number: [*range(family, family + shared), *([10_000 + number] * own)],
    st.sampled_from([0, 1000]),
    st.integers(1, 30),
    st.integers(0, 9),
    st.integers(0, 3),
)
chunks = st.none() | st.integers(1, 12)
_numbers = count()


class SameAsStock(RuleBasedStateMachine):
    """What is asked of one manager is asked of the other, until there are copies of a block: then which of them goes,
    and with it what else, is another with each."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.deferred: list[list[Any]] = []
        self.has_copies = False

    @initialize(is_hybrid=st.booleans())
    def make(self, is_hybrid: bool) -> None:
        groups = (full_attention(), sliding_window(8)) if is_hybrid else (full_attention(),)
        self.both = [Served(new_manager(NUM_BLOCKS, *groups, stock=stock)) for stock in (False, True)]
        self.requests: list[dict[str, Request]] = [{}, {}]

    def ask(self, call: Callable[[Served, dict[str, Request]], Any]) -> Any:
        ours, theirs = (call(*pair) for pair in zip(self.both, self.requests, strict=True))
        assert ours == theirs
        return ours

    @precondition(lambda self: len(self.names) < 4 and not self.has_copies)
    @rule(token_ids=prompts, chunk=chunks, session=st.sampled_from(SESSIONS))
    def admit(self, token_ids: list[int], chunk: int | None, session: str | None) -> None:
        if self._would_copy(token_ids):
            return
        name = f"q{next(_numbers)}"

        def enter(cache: Served, requests: dict[str, Request]) -> int | None:
            request = new_request(token_ids, session=session, name=name)
            found = cache.admit(request, chunk)
            if found is not None:
                requests[name] = request
            else:
                # One that went on waiting would have its prefix kept, which vLLM's pool does not do.
                cache.manager.free(request)
            return found

        if self.ask(enter) is not None:
            self.names.append(name)

    def _would_copy(self, token_ids: list[int]) -> bool:
        """Whether the first block that is not found is being computed, or is the last one, which is never found."""
        first_missing = token_ids[: self.both[0].found(token_ids) + BLOCK_TOKENS]
        running = (list(self.requests[0][name].all_token_ids) for name in self.names)
        is_computed = any(prompt[: len(first_missing)] == first_missing for prompt in running)
        return is_computed or len(token_ids) % BLOCK_TOKENS == 0

    @precondition(lambda self: self.names and not self.has_copies)
    @rule(data=st.data(), chunk=chunks)
    def go_on(self, data: st.DataObject, chunk: int | None) -> None:
        """A chunk of the prompt; or a token of the answer, which no two requests have the same."""
        name = data.draw(st.sampled_from(self.names))

        def continue_(cache: Served, requests: dict[str, Request]) -> bool:
            request = requests[name]
            if request.num_computed_tokens == request.num_tokens:
                request.append_output_token_ids(100_000 + 100 * int(name[1:]) + request.num_output_tokens)
            return cache.go_on(request, chunk)

        if not self.ask(continue_):
            self.free(name, is_deferred=False)

    @precondition(lambda self: self.names)
    @rule(data=st.data(), is_deferred=st.booleans())
    def end(self, data: st.DataObject, is_deferred: bool) -> None:
        self.free(data.draw(st.sampled_from(self.names)), is_deferred=is_deferred)

    def free(self, name: str, *, is_deferred: bool) -> None:
        self.names.remove(name)
        pairs = list(zip(self.both, self.requests, strict=True))
        if is_deferred:
            self.deferred.append([cache.manager.pop_blocks_for_free(asked.pop(name)) for cache, asked in pairs])
            return
        for cache, asked in pairs:
            cache.manager.free(asked.pop(name))

    @precondition(lambda self: self.deferred)
    @rule()
    def release_deferred(self) -> None:
        for cache, blocks in zip(self.both, self.deferred.pop(0), strict=True):
            cache.manager.block_pool.free_blocks(reversed(blocks))

    @precondition(lambda self: not self.names)
    @rule()
    def reset(self) -> None:
        self.ask(lambda cache, _: cache.manager.reset_prefix_cache())

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "both"):
            return
        self.both[0].check()
        cached = [cache.manager.block_pool.cached_block_hash_to_block._cache for cache in self.both]
        if self.has_copies or any(isinstance(blocks, dict) for each in cached for blocks in each.values()):
            self.has_copies = True
            return
        self.ask(lambda cache, _: cache.manager.block_pool.get_num_free_blocks())
        self.ask(lambda cache, _: sorted(block.ref_cnt for block in cache.manager.block_pool.blocks[1:]))
        self.ask(lambda cache, _: set(cache.manager.block_pool.cached_block_hash_to_block._cache))
        for name in self.names:
            self.ask(lambda cache, _, name=name: list(map(len, cache.manager.get_block_ids(name))))  # type: ignore[misc]  # mypy infers no lambda with a default


class AnythingGoes(RuleBasedStateMachine):
    """Everything at once on our pool alone: nothing is lost, and nothing contradicts itself."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.running: list[Request] = []
        self.loading: list[Request] = []
        self.deferred: list[Any] = []

    @initialize(is_hybrid=st.booleans())
    def make(self, is_hybrid: bool) -> None:
        groups = (full_attention(), sliding_window(8)) if is_hybrid else (full_attention(),)
        self.cache = Served(new_manager(NUM_BLOCKS, *groups, clock=self.clock))

    @rule(
        token_ids=prompts,
        chunk=chunks,
        session=st.sampled_from(SESSIONS),
        priorities=st.none() | st.lists(st.sampled_from([0, 10, 35, 60, 90, 100]), min_size=2, max_size=2),
        seconds=st.sampled_from([None, 1.0, 30.0]),
    )
    def admit(
        self,
        token_ids: list[int],
        chunk: int | None,
        session: str | None,
        priorities: list[int] | None,
        seconds: float | None,
    ) -> None:
        plan = None
        if priorities is not None:
            high, low = sorted(priorities, reverse=True)
            plan = new_plan((1, high, seconds), (max(1, len(token_ids) - 1), low, seconds))
        request = new_request(token_ids, plan=plan, session=session)
        if self.cache.admit(request, chunk) is None:
            self.cache.manager.free(request)
        else:
            self.running.append(request)

    @rule(token_ids=prompts, session=st.sampled_from(SESSIONS))
    def load(self, token_ids: list[int], session: str | None) -> None:
        tokens = len(token_ids) // BLOCK_TOKENS * BLOCK_TOKENS
        needed = 2 * (tokens // BLOCK_TOKENS)
        if tokens and needed <= self.cache.manager.block_pool.get_num_free_blocks():
            request = new_request([*token_ids, 7], session=session)
            self.cache.load(request, tokens)
            self.loading.append(request)

    @precondition(lambda self: self.loading)
    @rule()
    def loaded(self) -> None:
        request = self.loading.pop(0)
        self.cache.loaded(request)
        self.running.append(request)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), chunk=chunks, is_deferred=st.booleans())
    def go_on(self, data: st.DataObject, chunk: int | None, is_deferred: bool) -> None:
        request = data.draw(st.sampled_from(self.running))
        if request.num_computed_tokens == request.num_tokens:
            request.append_output_token_ids(request.num_output_tokens)
        if not self.cache.go_on(request, chunk):
            self._free(request, is_deferred=is_deferred)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), is_deferred=st.booleans())
    def end(self, data: st.DataObject, is_deferred: bool) -> None:
        self._free(data.draw(st.sampled_from(self.running)), is_deferred=is_deferred)

    def _free(self, request: Request, *, is_deferred: bool) -> None:
        self.running.remove(request)
        if is_deferred:
            self.deferred.append(self.cache.manager.pop_blocks_for_free(request))
        else:
            self.cache.manager.free(request)

    @precondition(lambda self: self.deferred)
    @rule()
    def release_deferred(self) -> None:
        self.cache.manager.block_pool.free_blocks(reversed(self.deferred.pop(0)))

    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        self.cache.manager.evict_blocks(data.draw(st.sets(st.integers(1, NUM_BLOCKS - 1), max_size=3)))

    @rule(ms=st.sampled_from([1, 999, 40_000]))
    def pass_time(self, ms: int) -> None:
        self.clock.now_ms += ms
        self.cache.manager.new_step_starts()

    @rule(token_ids=prompts, name=st.sampled_from("abc"))
    def wait(self, token_ids: list[int], name: str) -> None:
        self.cache.manager.await_prefix(new_request(token_ids, name=name))

    @rule(name=st.sampled_from("abc"))
    def stop_waiting(self, name: str) -> None:
        self.cache.retention.waiting.end(name)

    @rule(session=st.sampled_from(SESSIONS[:-1]))
    def finish(self, session: str) -> None:
        self.cache.retention.requests.finish(session, 0)

    @rule()
    def reset(self) -> None:
        self.cache.manager.reset_prefix_cache()

    @rule()
    def report(self) -> None:
        self.cache.retention.reports.drain(5)

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.cache.check()
        pool = self.cache.manager.block_pool
        held = sum(block.ref_cnt > 0 for block in pool.blocks if not block.is_null)
        assert held + pool.get_num_free_blocks() == NUM_BLOCKS - 1


SameAsStock.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
AnythingGoes.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=50, deadline=None)
TestSameAsStock = SameAsStock.TestCase
TestAnythingGoes = AnythingGoes.TestCase
