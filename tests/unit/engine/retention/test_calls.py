"""What the box asks an engine, from its client to the pool and back, without a process between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from vllm.v1.core.kv_cache_utils import maybe_convert_block_hash

from appliance.cache.errors import InvalidRange
from appliance.cache.plan import RetentionPlan
from appliance.cache.plan_wire import encode_plan
from appliance.engine.retention import calls
from appliance.engine.retention.client import RetentionClient
from appliance.engine.retention.worth import Worth
from tests.unit.engine.retention.pools import BLOCK_TOKENS, Clock, Served, new_plan, new_request, served

PROMPT = range(4 * BLOCK_TOKENS)
OTHER = range(500, 500 + 4 * BLOCK_TOKENS)


class Client(RetentionClient):
    """Of an engine in this process; arguments and answers go through msgpack as they would to another."""

    def __init__(self, cache: Served, *, has_retention: bool = True) -> None:
        self._engine: Any = SimpleNamespace(scheduler=SimpleNamespace(kv_cache_manager=cache.manager))
        self._has = has_retention

    @property
    def _has_retention(self) -> bool:
        return self._has

    async def _ask(self, call: str, *arguments: Any) -> Any:
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(arguments))
        return msgspec.msgpack.decode(msgspec.msgpack.encode(getattr(calls, call)(self._engine, *sent)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Served:
    """Sixteen blocks and the null block."""
    return served(17, clock=clock)


@pytest.fixture
def client(cache: Served) -> Client:
    return Client(cache)


def payload(plan: RetentionPlan) -> dict[str, Any]:
    return encode_plan(plan, None)


async def test_a_new_plan_moves_the_blocks_of_a_sessions_last_prompt(cache: Served, client: Client) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 10)), session="s"))
    assert await client.replan("s", payload(new_plan((16, 90)))) == 4
    assert await client.replan("unknown", payload(new_plan((16, 90)))) == 0
    cache.flood(64)
    assert cache.found(PROMPT) == 16


async def test_several_sessions_are_planned_anew_in_one_call(cache: Served, client: Client) -> None:
    for session, prompt in (("a", PROMPT), ("b", OTHER)):
        cache.serve(new_request(prompt, plan=new_plan((16, 10)), session=session))
    plans = {name: payload(new_plan((16, 90))) for name in ("a", "unknown", "b")}
    assert await client.replan_all(plans) == 8
    cache.check()
    stats = await client.retention_stats()
    assert stats is not None
    assert stats["by_priority"] == {90: 8}


async def test_a_finished_session_is_worth_nothing(cache: Served, client: Client) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((16, 90)), session="s"))
    cache.serve(new_request(OTHER, session="t"))
    assert (await client.finish("s"), await client.finish("unknown")) == (True, False)
    cache.flood(12)
    assert (cache.found(PROMPT), cache.found(OTHER)) == (0, 16)


async def test_a_change_of_policy_moves_resident_blocks_and_drops_none(cache: Served, client: Client) -> None:
    cache.serve(new_request(PROMPT, plan=new_plan((8, 90), (8, 60)), session="s"))
    await client.apply_policy({"test.toml:1": Worth(50, 0)})
    assert (await client.retention_stats() or {})["by_priority"] == {50: 2, 35: 2}
    assert cache.found(PROMPT) == 16
    with pytest.raises(InvalidRange, match="priority 101"):
        await client.apply_policy({"test.toml:1": Worth(101, 0)})
    cache.check()


async def test_with_a_forecast_the_session_worth_least_goes_first_and_without_one_the_oldest(
    cache: Served, client: Client
) -> None:
    cache.serve(new_request(PROMPT, session="old"))
    cache.serve(new_request(OTHER, session="new"))
    await client.set_keeps({"old": 2.0, "new": 1.0, "unknown": 9.0}, unnamed=3.0)
    cache.flood(12)
    assert (cache.found(PROMPT), cache.found(OTHER)) == (16, 0)
    await client.clear_keeps()
    cache.flood(16, start=90_000)
    assert cache.found(PROMPT) == 0


async def test_a_session_that_was_just_used_goes_last_until_the_forecast_speaks_of_it(
    cache: Served, client: Client
) -> None:
    await client.set_keeps({}, unnamed=5.0)
    cache.serve(new_request(PROMPT, session="s"))
    cache.flood(64)
    assert cache.found(PROMPT) == 16
    await client.set_keeps({"s": 1.0}, unnamed=5.0)
    cache.flood(64, start=90_000)
    assert cache.found(PROMPT) == 0


async def test_blocks_that_somebody_waits_for_go_last_of_all(cache: Served, client: Client) -> None:
    request = new_request(PROMPT, session="s")
    cache.serve(request)
    hashes = [maybe_convert_block_hash(block_hash) for block_hash in request.block_hashes]
    assert await client.wait_for("queued", [*hashes, 12345]) == 4
    cache.flood(64)
    assert cache.found(PROMPT) == 16
    await client.stop_waiting("queued")
    cache.flood(64, start=90_000)
    assert cache.found(PROMPT) == 0


async def test_evictions_are_told_once_with_whose_they_were_and_for_whom(
    cache: Served, client: Client, clock: Clock
) -> None:
    request = new_request(PROMPT, plan=new_plan((8, 60), (8, 40)), session="s")
    cache.serve(request)
    clock.now_ms += 5000
    cause = new_request(range(900, 900 + 14 * BLOCK_TOKENS), session="t")
    cache.serve(cause)
    told = await client.evictions()
    assert [(each.first_token, each.priority, each.rule) for each in told.evictions] == [
        (12, 40, "test.toml:2"),
        (8, 40, "test.toml:2"),
    ]
    hashes = [maybe_convert_block_hash(block_hash) for block_hash in request.block_hashes]
    assert [each.block_hash for each in told.evictions] == [hashes[3], hashes[2]]
    (first, _) = told.evictions
    assert (first.owner, first.cause, first.cause_request) == ("s", "t", cause.request_id)
    assert (first.age_seconds, first.awaited) == (5.0, False)
    assert (await client.evictions()).evictions == ()


async def test_evictions_of_single_blocks_are_told_as_those_of_many(cache: Served, client: Client) -> None:
    cache.serve(new_request(range(16 * BLOCK_TOKENS), session="s"))
    growing = new_request(range(900, 900 + BLOCK_TOKENS), session="t")
    cache.admit(growing)
    cache.generate(growing, range(5000, 5000 + 2 * BLOCK_TOKENS))
    told = await client.evictions(1)
    assert [each.first_token for each in told.evictions] == [15 * BLOCK_TOKENS]
    assert told.num_left == 2
    rest = await client.evictions()
    assert [each.first_token for each in rest.evictions] == [14 * BLOCK_TOKENS, 13 * BLOCK_TOKENS]


async def test_an_engine_without_retention_is_told_nothing(cache: Served) -> None:
    client = Client(cache, has_retention=False)
    await client.apply_policy({"test.toml:1": Worth(101, 0)})
    await client.set_keeps({"s": 1.0})
    await client.clear_keeps()
    await client.stop_waiting("r")
    plan = payload(new_plan((16, 90)))
    assert (await client.replan("s", plan), await client.replan_all({"s": plan}), await client.finish("s")) == (0, 0, 0)
    assert await client.wait_for("r", [1]) == 0
    assert await client.retention_stats() is None
    assert (await client.evictions()).evictions == ()


def test_every_call_has_its_place_in_the_list_of_calls() -> None:
    assert {call.__name__ for call in calls.CALLS} == {name for name in dir(calls) if name.startswith("box_")}
