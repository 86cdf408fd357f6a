from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.cache.eviction import NO_BLOCK, NO_SESSION, EvictionCore, Order, Shares
from appliance.cache.eviction_facts import Claim
from tests.examples import examples
from tests.unit.cache.eviction_twin import NONE, EvictionTwin, Victim

NUM_BLOCKS = 14
NUM_SESSIONS = 4
RULES = 3

sessions = st.integers(0, NUM_SESSIONS - 1)
owners = st.integers(NO_SESSION, NUM_SESSIONS - 1)
priorities = st.sampled_from([0, 10, 34, 35, 36, 50, 100])
durations_ms = st.sampled_from([0, 1, 5, 20, 20, 300, 70_000])
times_ms = st.sampled_from([0, 0, 1, 4, 4, 19, 19, 250, 256, 66_000, 10**6])
rules = st.integers(-1, RULES)
shares = st.builds(Shares, session=st.sampled_from([0.2, 0.5, 1.0]), total=st.sampled_from([0.3, 0.9, 1.0]))


class SameVictims(RuleBasedStateMachine):
    """Random calls on the core and on its twin; everything either tells is the same after each."""

    core: EvictionCore
    twin: EvictionTwin
    now_ms = 0

    @initialize(
        claims_per_block=st.integers(2, 4),
        is_forecast=st.booleans(),
        share=shares,
        now_ms=st.sampled_from([0, 10**9]),
        worth=st.permutations(range(NUM_SESSIONS)),
    )
    def make(self, claims_per_block: int, is_forecast: bool, share: Shares, now_ms: int, worth: list[int]) -> None:
        self.now_ms = now_ms
        self.core = EvictionCore(
            NUM_BLOCKS,
            num_sessions=NUM_SESSIONS,
            claims_per_block=claims_per_block,
            order=Order.FORECAST if is_forecast else Order.LRU,
            shares=share,
        )
        self.twin = EvictionTwin(
            NUM_BLOCKS,
            NUM_SESSIONS,
            claims_per_block,
            is_forecast=is_forecast,
            session_share=share.session,
            total_share=share.total,
        )
        for session, keep in enumerate(worth):
            self.both("set_keep", session, float(keep))
        self.take(0)

    def both(self, call: str, *args: Any) -> None:
        getattr(self.core, call)(*args)
        getattr(self.twin, call)(*args)

    def take(self, n: int) -> list[int]:
        taken = self.core.take(n, self.now_ms)
        victims = [Victim(*values) for values in zip(*(column.tolist() for column in taken), strict=True)]
        expected = self.twin.take(n, self.now_ms)
        assert [_seen(victim) for victim in victims] == [_seen(victim) for victim in expected]
        return [victim.block for victim in victims]

    def some(self, data: st.DataObject, fits: Callable[[int], object] | None = None, most: int = 6) -> list[int]:
        fitting = [number for number in range(NUM_BLOCKS) if fits is None or fits(number)]
        if not fitting:
            return []
        return data.draw(st.lists(st.sampled_from(fitting), max_size=most, unique=True))

    def prefix(self, number: int) -> list[int]:
        blocks = []
        while number != NONE:
            blocks.append(number)
            number = self.twin.blocks[number].parent
        return blocks[::-1]

    @rule(ms=times_ms)
    def expire(self, ms: int) -> None:
        self.now_ms += ms
        assert self.core.expire(self.now_ms) == self.twin.expire(self.now_ms)

    @rule(data=st.data(), session=sessions, n=st.integers(0, 5), ms=times_ms)
    def serve_a_prompt(self, data: st.DataObject, session: int, n: int, ms: int) -> None:
        self.serve(data, session, n, ms, levels=st.just(35))

    @rule(data=st.data(), session=sessions, n=st.integers(0, 5), ms=times_ms)
    def serve_a_claimed_prompt(self, data: st.DataObject, session: int, n: int, ms: int) -> None:
        self.serve(data, session, n, ms, levels=priorities)

    def serve(self, data: st.DataObject, session: int, n: int, ms: int, levels: st.SearchStrategy[int]) -> None:
        with_content = [number for number in range(NUM_BLOCKS) if self.twin.blocks[number].content]
        tip = data.draw(st.sampled_from([NONE, *with_content]))
        prefix = self.prefix(tip)
        self.both("start_prompt", session)
        self.both("hit", prefix, session, self.now_ms)
        self.both("hold", prefix, self.now_ms)
        new = self.take(min(n, self.twin.num_candidates))
        self.both("fill", new, [tip, *new][: len(new)], session, self.now_ms)
        blocks = prefix + new
        claimed = data.draw(st.lists(levels, min_size=len(blocks), max_size=len(blocks)))
        self.claim_all(data, session, blocks, sorted(claimed, reverse=True))
        self.now_ms += ms
        if data.draw(st.sampled_from([True, True, True, False])):
            self.both("release", blocks, self.now_ms)

    def claim_all(self, data: st.DataObject, session: int, blocks: list[int], levels: list[int]) -> None:
        def drawn(values: st.SearchStrategy[int]) -> list[int]:
            return data.draw(st.lists(values, min_size=len(blocks), max_size=len(blocks)))

        lengths, numbers = drawn(durations_ms), drawn(rules)
        self.core.claim(session, blocks, levels, lengths, self.now_ms, numbers)
        self.twin.claim(session, blocks, levels, lengths, self.now_ms, numbers)

    @rule(data=st.data(), session=sessions)
    def claim(self, data: st.DataObject, session: int) -> None:
        blocks = self.some(data, lambda number: self.twin.blocks[number].content)
        levels = data.draw(st.lists(priorities, min_size=len(blocks), max_size=len(blocks)))
        self.claim_all(data, session, blocks, levels)

    @rule(n=st.integers(1, 12))
    def evict(self, n: int) -> None:
        self.take(min(n, self.twin.num_candidates))

    @rule(data=st.data(), session=owners)
    def fill(self, data: st.DataObject, session: int) -> None:
        blocks = self.some(
            data, lambda number: self.twin.blocks[number].holders and not self.twin.blocks[number].content
        )
        with_content = [number for number in range(NUM_BLOCKS) if self.twin.blocks[number].content]
        parents = [data.draw(st.sampled_from([NO_BLOCK, *with_content, *blocks[:i]])) for i in range(len(blocks))]
        self.both("fill", blocks, parents, session, self.now_ms)

    @rule(data=st.data(), session=st.none() | owners, ms=times_ms)
    def hit(self, data: st.DataObject, session: int | None, ms: int) -> None:
        self.now_ms += ms
        self.both("hit", self.some(data, lambda number: self.twin.blocks[number].content), session, self.now_ms)

    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        with_content = [number for number in range(NUM_BLOCKS) if self.twin.blocks[number].content]
        by_depth = sorted(with_content, key=lambda number: len(self.prefix(number)))
        blocks = self.some(data, lambda number: self.twin.blocks[number].content)
        parents = [data.draw(st.sampled_from([NO_BLOCK, *by_depth[: by_depth.index(block)]])) for block in blocks]
        self.both("adopt", blocks, parents)

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        self.both("hold", self.some(data, most=3), self.now_ms)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.both("release", self.some(data, lambda number: self.twin.blocks[number].holders), self.now_ms)

    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        self.both("wait", self.some(data))

    @rule(data=st.data())
    def unwait(self, data: st.DataObject) -> None:
        self.both("unwait", self.some(data, lambda number: self.twin.blocks[number].waiters))

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.both("drop", self.some(data, most=3))

    @rule(session=sessions, priority=st.sampled_from([0, 0, 20, 35]))
    def finish(self, session: int, priority: int) -> None:
        self.both("finish", session, priority)

    @rule(session=sessions)
    def forget(self, session: int) -> None:
        self.both("forget", session)

    @rule(session=owners, keep=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    def set_keep(self, session: int, keep: float) -> None:
        self.both("set_keep", session, keep)

    @rule(share=shares)
    def set_shares(self, share: Shares) -> None:
        self.core.set_shares(share)
        self.twin.set_shares(share.session, share.total)

    @precondition(lambda self: self.twin.uses % 5 == 0)
    @rule(is_forecast=st.booleans())
    def set_order(self, is_forecast: bool) -> None:
        self.core.set_order(Order.FORECAST if is_forecast else Order.LRU)
        self.twin.set_order(is_forecast=is_forecast)

    @rule(table=st.lists(st.tuples(priorities, durations_ms), max_size=RULES))
    def reprioritise(self, table: list[tuple[int, int]]) -> None:
        resident = [self.twin.blocks[number].content for number in range(NUM_BLOCKS)]
        self.both("reprioritise", [row[0] for row in table], [row[1] for row in table], self.now_ms)
        assert resident == [self.core.block(number).has_content for number in range(NUM_BLOCKS)]

    @invariant()
    def they_agree(self) -> None:
        self.core.check_integrity()
        for number, block in enumerate(self.twin.blocks):
            facts = self.core.block(number)
            assert (facts.has_content, facts.holders, facts.waiters) == (block.content, block.holders, block.waiters)
            assert (facts.own_priority, facts.effective_priority) == (block.own, self.twin.effective(number))
            assert facts.claims == tuple(
                Claim(
                    session=None if claim.session < 0 else claim.session,
                    priority=claim.priority,
                    duration_ms=claim.duration_ms or None,
                    rule=claim.rule,
                )
                for claim in block.claims()
            )
        assert {name: count for name, count in asdict(self.core.stats).items() if count} == +self.twin.stats
        assert self.core.num_candidates == self.twin.num_candidates
        assert self.core.num_claimed == len(self.twin.claimed)
        claimed_by = [len(self.twin.above[session]) for session in range(NUM_SESSIONS)]
        assert [self.core.num_claimed_by(session) for session in range(NUM_SESSIONS)] == claimed_by
        levels = np.bincount([place[1] for place in self.twin.place.values() if 0 <= place[1] <= 100], minlength=101)
        assert self.core.candidates_by_priority().tolist() == levels.tolist()

    def teardown(self) -> None:
        if hasattr(self, "twin"):
            self.take(self.twin.num_candidates)


def _seen(victim: Victim) -> Victim:
    return victim if victim.had_content else Victim(victim.block, False, NONE, 0, NONE, 0, False)


SameVictims.TestCase.settings = settings(max_examples=examples(50), stateful_step_count=40)
TestSameVictims = SameVictims.TestCase
