from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from vllm.v1.kv_offload.base import LookupResult, OffloadKey, ReqContext, ScheduleEndContext, make_offload_key
from vllm.v1.metrics.cache_hit_source import CacheHitSource

from appliance.cache.arena.tables import Keys, Numbers
from appliance.cache.plan import Directive, RetentionPlan
from appliance.cache.plan_wire import encode_plan
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.engine.host_tier.identity import Namespace
from appliance.engine.host_tier.manager import FIRST_LOOKUP, WAIT_SECONDS, ArenaManager
from appliance.engine.retention.client import retention_hints
from tests.clock import Clock
from tests.unit.cache.arena.arenas import opened

TOKENS = 16
NOBODY = ScheduleEndContext((), ())
HIT, MISS, PENDING = LookupResult.HIT, LookupResult.MISS, LookupResult.HIT_PENDING


TOP = Tier.GPU | Tier.HOST


class Engine:
    """A scheduler's side, driven in the order in which vLLM's connector drives it."""

    def __init__(self, folder: Path, name: bytes, num_rows: int, identity: dict[str, Any]) -> None:
        self.clock = Clock()
        self.index = opened(folder, num_rows, name * 16)
        self.manager = ArenaManager(self.index, Namespace(identity), {0: TOKENS}, self.clock)

    def request(self, chain: Sequence[int], plan: RetentionPlan | None = None, session: str = "s") -> ReqContext:
        payload = None if plan is None else encode_plan(plan, session)
        context = ReqContext("r", kv_hints=retention_hints(payload, "r"))
        for number, block in enumerate(chain, start=1):
            context.set_offload_key_position(key(block), number * TOKENS)
        self.manager.on_new_request(context)
        return context

    def look_up(self, context: ReqContext, *blocks: int) -> list[LookupResult]:
        return [self.manager.lookup(key(block), context) for block in blocks]

    def load(self, context: ReqContext, *blocks: int) -> list[int]:
        rows: list[int] = self.manager.prepare_load([key(block) for block in blocks], context).block_ids.tolist()
        return rows

    def begin(self, context: ReqContext, *blocks: int) -> list[int]:
        """The blocks that are to be written."""
        told = self.manager.prepare_store([key(block) for block in blocks], context)
        assert len(told.store_spec.block_ids) == len(told.keys_to_store)
        return [int.from_bytes(one[:8], "big") for one in told.keys_to_store]

    def end(self, context: ReqContext, *blocks: int, success: bool = True) -> None:
        self.manager.complete_store({key(block) for block in blocks}, context, success)

    def store(self, *chain: int, plan: RetentionPlan | None = None, session: str = "s") -> None:
        context = self.request(chain, plan, session)
        self.end(context, *self.begin(context, *chain))

    def end_step(self) -> None:
        self.manager.on_schedule_end(NOBODY)

    def held(self, *chain: int) -> list[int]:
        context = self.request(chain)
        found = [block for block in chain if self.manager.lookup(key(block), self.request([block])) is HIT]
        del context
        self.end_step()
        return found


def key(block: int) -> OffloadKey:
    return make_offload_key(block.to_bytes(8, "big") * 4, 0)


@pytest.fixture
def a(tmp_path: Path) -> Engine:
    return Engine(tmp_path, b"a", 16, {"model": "m"})


@pytest.fixture
def b(tmp_path: Path, a: Engine) -> Engine:
    del a
    return Engine(tmp_path, b"b", 16, {"model": "m"})


def plan(*directives: tuple[int, int | None, int, Tier]) -> RetentionPlan:
    return RetentionPlan(
        tuple(Directive(start, end, worth, None, tiers, "r") for start, end, worth, tiers in directives)
    )


def test_what_one_engine_stored_another_looks_up_and_loads(a: Engine, b: Engine) -> None:
    a.store(1, 2, 3)
    context = b.request([1, 2, 3, 4])
    assert b.look_up(context, 1, 2, 3, 4) == [HIT, HIT, HIT, MISS]
    assert len(set(b.load(context, 1, 2, 3))) == 3
    assert b.manager.get_load_source(key(1), context) is CacheHitSource.HOST
    b.manager.complete_load({key(1), key(2), key(3)}, context)
    b.end_step()
    b.index.check_integrity()
    assert b.index.stats.held == 0


def test_a_hit_is_kept_to_the_end_of_the_step_and_a_load_to_its_own_end(a: Engine, b: Engine) -> None:
    a.store(1, 2)
    context = b.request([1, 2])
    b.look_up(context, 1, 2)
    b.load(context, 1)
    assert b.index.stats.held == 2
    b.end_step()
    assert b.index.stats.held == 1
    b.manager.complete_load({key(1)}, context)
    assert b.index.stats.held == 0
    b.index.check_integrity()


def test_a_long_chain_is_looked_up_in_few_calls(a: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = range(1, 13)
    a.store(*chain)
    asked: list[int] = []
    look_up = a.index.look_up

    def counted(keys: Keys, **more: Any) -> Numbers:
        asked.append(len(keys))
        return look_up(keys, **more)

    monkeypatch.setattr(a.index, "look_up", counted)
    context = a.request([*chain, 99])
    assert a.look_up(context, *chain, 99) == [HIT] * 12 + [MISS]
    assert asked == [13]
    assert FIRST_LOOKUP > 13


def test_a_miss_ends_the_chain(a: Engine) -> None:
    a.store(1)
    a.store(3)
    context = a.request([1, 2, 3])
    assert a.look_up(context, 1, 2) == [HIT, MISS]


def test_own_rows_in_the_making_are_waited_for(a: Engine) -> None:
    context = a.request([1])
    a.begin(context, 1)
    assert a.look_up(a.request([1]), 1) == [PENDING]


def test_rows_that_another_engine_writes_are_waited_for_a_while(a: Engine, b: Engine) -> None:
    a.begin(a.request([1]), 1)
    context = b.request([1])
    assert b.look_up(context, 1) == [PENDING]
    b.end_step()
    b.clock.seconds += WAIT_SECONDS
    assert b.look_up(context, 1) == [MISS]


def test_blocks_are_offered_again_and_not_stored_again(a: Engine) -> None:
    a.store(1, 2)
    assert a.begin(a.request([1, 2, 3]), 1, 2, 3) == [3]


def test_a_store_that_failed_is_a_miss(a: Engine) -> None:
    context = a.request([1])
    a.begin(context, 1)
    a.end(context, 1, success=False)
    assert a.look_up(a.request([1]), 1) == [MISS]


def test_a_plan_is_a_claim_on_what_is_stored(a: Engine) -> None:
    lead = plan((0, 2 * TOKENS, 90, ALL_TIERS), (2 * TOKENS, None, 35, ALL_TIERS))
    a.store(1, 2, 3, plan=lead, session="lead")
    a.store(*range(100, 114))
    a.store(*range(200, 214))
    assert a.held(1, 2, 3) == [1, 2]


def test_what_a_plan_bars_from_the_host_is_not_stored(a: Engine) -> None:
    bars = plan((0, TOKENS, 50, ALL_TIERS), (TOKENS, None, 35, Tier.GPU))
    assert a.begin(a.request([1, 2, 3], bars), 1, 2, 3) == [1]
    assert a.begin(a.request([7], plan((0, None, 35, Tier.GPU))), 7) == []


def test_what_a_plan_bars_from_lower_tiers_is_told_to_those_who_write_there(a: Engine) -> None:
    bars = plan(
        (0, TOKENS, 50, ALL_TIERS), (TOKENS, 2 * TOKENS, 40, ALL_TIERS ^ Tier.DISK), (2 * TOKENS, None, 35, TOP)
    )
    a.store(1, 2, 3, plan=bars)
    rows = a.index.look_up(Namespace({"model": "m"}).words([key(1), key(2), key(3)]))
    assert a.index.barred(rows, Tier.DISK).tolist() == [False, True, True]
    assert a.index.barred(rows, Tier.REMOTE).tolist() == [False, False, True]
    a.index.release(rows)


def test_a_plan_that_cannot_be_read_claims_nothing_and_is_counted(a: Engine) -> None:
    context = ReqContext("r", kv_hints=retention_hints({"scope": "s", "directives": "none"}, "r"))
    context.set_offload_key_position(key(1), TOKENS)
    assert a.begin(context, 1) == [1]
    a.end(context, 1)
    assert (a.held(1), a.manager.num_bad_plans) == ([1], 1)


@pytest.mark.parametrize("name", ["model", "vllm", "dtype", "weights", "layout", "parallel"])
def test_another_configuration_can_only_miss(tmp_path: Path, name: str) -> None:
    told = {"model": "m", "vllm": "1", "dtype": "f", "weights": "w", "layout": "l", "parallel": [1]}
    one = Engine(tmp_path, b"a", 16, told)
    other = Engine(tmp_path, b"b", 16, told | {name: "another"})
    one.store(1)
    assert (one.held(1), other.held(1)) == ([1], [])


def test_groups_do_not_mix(a: Engine) -> None:
    names = Namespace({"model": "m"})
    zero, one = make_offload_key(bytes(32), 0), make_offload_key(bytes(32), 1)
    both = names.words([zero, one])
    assert both[0].tolist() == names.words([zero])[0].tolist() != both[1].tolist()
    del a


def test_a_reset_gives_up_what_is_under_way_and_keeps_what_is_stored(a: Engine, b: Engine) -> None:
    a.store(1)
    a.begin(a.request([2]), 2)
    a.look_up(a.request([1]), 1)
    a.manager.reset_cache()
    assert b.held(1, 2) == [1]
    b.index.check_integrity()


def test_a_dead_engines_rows_can_be_taken_back_by_anybody(a: Engine, b: Engine) -> None:
    a.begin(a.request([1]), 1)
    a.manager.shutdown()
    b.index.reap()
    assert b.look_up(b.request([1]), 1) == [MISS]
    assert b.index.stats.reaped_rows == 1
