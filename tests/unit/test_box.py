from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import AsyncGenerator

import pytest
from msgspec.structs import asdict, astuple

from appliance.api.eviction_page import EvictionPage
from appliance.api.policy_views import PolicyChange
from appliance.box import Phase, RunningBox
from appliance.box_events import PhaseChanged, PolicyChanged
from appliance.cache.region import Region
from appliance.caretaker import Caretaker
from appliance.engine.retention.eviction import Eviction
from appliance.errors import InvalidRequest, NotReady
from appliance.eviction_log import Evicted
from appliance.generation import Event
from appliance.router.events import Batch, BlockStored
from tests.clock import Clock
from tests.unit.scripted_worker import (
    BLOCK_TOKENS,
    CARD,
    ScriptedBox,
    ScriptedWorker,
    answer_of,
    conversation,
    steps_of,
    until,
)

HELLO = steps_of(["Hel", "lo"], cached_tokens=4)


def new_box(clock: Clock | None = None) -> RunningBox:
    return RunningBox("http://127.0.0.1:8000", CARD.id, "demo", clock or Clock(1_700_000_000.0))


async def test_before_it_is_open_a_box_says_what_it_is_and_that_nothing_is_known_yet() -> None:
    clock = Clock(1_700_000_000.0)
    box = new_box(clock)
    clock.seconds += 5
    status = box.status()
    assert (status.phase, status.activity, status.workers) == ("startup", None, [])
    assert (status.pid, status.endpoint) == (os.getpid(), "http://127.0.0.1:8000")
    assert (status.started_at, status.uptime_seconds) == (1_700_000_000.0, 5.0)
    assert (status.model.id, status.model.source, status.model.context_tokens) == (CARD.id, "demo", None)
    assert (status.cache_since_start.hit_rate, status.latency.ttft_p50_ms) == (None, None)
    assert (status.cache_last_request, status.latency.itl_p50_ms) == (None, None)
    assert (status.latency.loop_lag_p99_ms, status.latency.loop_lag_max_ms) == (None, None)
    assert not box.is_ready()
    assert box.models() == ()


@pytest.mark.parametrize(
    ("activity", "message"),
    [(None, "The box is starting."), ("loading 2 worker(s), 4 s", "The box is starting: loading 2 worker(s), 4 s.")],
)
async def test_a_starting_box_refuses_and_says_what_it_is_busy_with(activity: str | None, message: str) -> None:
    box = new_box()
    box.activity = activity
    for request in (box.prepare(conversation(), "r"), box.count_tokens(conversation())):
        with pytest.raises(NotReady) as caught:
            await request
        assert caught.value.message == message


async def test_a_box_told_to_stop_while_it_starts_is_not_starting_any_more() -> None:
    box = new_box()
    box.activity = "loading 2 worker(s), 4 s"
    await box.drain()
    assert box.status().phase == "draining"
    with pytest.raises(NotReady, match="shutting down"):
        await box.prepare(conversation(), "r")


async def test_workers_are_shown_while_they_load() -> None:
    worker = ScriptedWorker(0)
    worker.starts.append(asyncio.Event())
    parts, box = ScriptedBox(worker), new_box()
    box.attach(parts.fleet)
    starting = asyncio.create_task(parts.fleet.start(lambda: None))
    await until(lambda: worker.num_starts == 1)
    (shown,) = box.status().workers
    assert (shown.id, shown.phase, shown.pid, shown.devices) == (0, "starting", None, ["cpu:0"])
    assert (shown.kv_blocks_total, shown.kv_usage, shown.kv_blocks_indexed) == (None, None, 0)
    assert (box.phase, box.is_ready()) == (Phase.STARTUP, False)
    starting.cancel()
    await asyncio.wait([starting])


async def test_an_open_box_serves_and_its_status_follows_requests_and_workers() -> None:
    gate, box = asyncio.Event(), new_box()
    box.activity = "loading"
    workers = [ScriptedWorker(0, [gate, *HELLO]), ScriptedWorker(1)]
    async with ScriptedBox(*workers, accounts=box.accounts) as parts:
        box.open(parts.pipeline, parts.fleet)
        assert (box.is_ready(), box.models(), box.status().activity) == (True, (CARD,), None)
        assert await box.count_tokens(conversation("four")) == 4

        prepared = await box.prepare(conversation("hello"), "r")
        answering = asyncio.create_task(_collect(prepared.events()))
        await until(lambda: workers[0].num_open == 1)
        status = box.status()
        assert (status.phase, status.requests.active, status.model.context_tokens) == ("running", 1, 8192)
        assert [(w.phase, w.running_requests, w.prefill_blocks_queued) for w in status.workers] == [
            ("running", 1, 3),
            ("running", 0, 0),
        ]
        assert [(w.pid, w.kv_blocks_total, w.kv_usage) for w in status.workers] == [(1000, 64, 0.25), (1001, 64, 0.25)]

        gate.set()
        assert answer_of(await answering) == "Hello"
        status = box.status()
        assert (status.requests.active, status.requests.finished, status.completion_tokens) == (0, 1, 2)
        assert (status.cache_since_start.hit_rate, status.latency.ttft_p50_ms) == (0.8, 0.0)
        assert status.cache_last_request == status.cache_since_start
        assert status.latency.itl_p50_ms is not None


async def test_a_worker_that_died_is_shown_with_its_last_error_and_without_blocks() -> None:
    worker, box = ScriptedWorker(0), new_box()
    async with ScriptedBox(worker, restart_limit=0) as parts:
        box.open(parts.pipeline, parts.fleet)
        stored = BlockStored(array("Q", [1]), None, array("I", range(BLOCK_TOKENS)), BLOCK_TOKENS)
        parts.fleet.members[0].mirror.apply(Batch(0.0, (stored,)))
        assert box.status().workers[0].kv_blocks_indexed == 1
        worker.end()
        assert not box.is_ready()
        await until(lambda: box.status().workers[0].phase == "failed")
        (shown,) = box.status().workers
        assert (shown.last_error, shown.pid, shown.kv_usage) == ("its process ended", None, None)
        assert (shown.kv_blocks_indexed, shown.index_in_step) == (0, True)


async def test_draining_refuses_new_requests_and_ends_with_the_last_running_one() -> None:
    gate, box = asyncio.Event(), new_box()
    worker = ScriptedWorker(0, [gate, *HELLO])
    async with ScriptedBox(worker, accounts=box.accounts) as parts:
        box.open(parts.pipeline, parts.fleet)
        prepared = await box.prepare(conversation(), "r")
        answering = asyncio.create_task(_collect(prepared.events()))
        await until(lambda: worker.num_open == 1)
        draining = asyncio.create_task(box.drain())
        await until(lambda: box.status().phase == "draining")
        with pytest.raises(NotReady, match="The box is shutting down"):
            await box.prepare(conversation(), "late")
        assert not box.is_ready()
        assert not draining.done()
        gate.set()
        await draining
        assert answer_of(await answering) == "Hello"


def test_before_it_is_open_a_box_has_no_decisions_to_show() -> None:
    with pytest.raises(NotReady, match="starting"):
        new_box().routing()


async def test_an_open_box_tells_how_its_requests_were_routed() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as engines:
        box = new_box()
        box.open(engines.pipeline, engines.fleet)
        await engines.ask()
        assert [decision.worker for decision in box.routing().newest(5).decisions] == [0]


async def test_a_box_without_a_caretaker_keeps_no_policy_and_says_why() -> None:
    box = new_box()
    with pytest.raises(NotReady):
        box.policies()
    async with ScriptedBox(ScriptedWorker(0)) as parts:
        box.open(parts.pipeline, parts.fleet)
        with pytest.raises(InvalidRequest, match=r'cache\.policy = "off"'):
            box.policies()


async def test_the_policy_is_the_caretakers() -> None:
    box = new_box()
    async with ScriptedBox(ScriptedWorker(0)) as parts:
        retention = parts.pipeline.retention
        assert retention is not None
        box.open(parts.pipeline, parts.fleet, Caretaker(retention, (), box.accounts.evictions))
        assert box.policies().active().name == "coding-agent"
        await box.policies().apply(PolicyChange("chat", author="me"))
        assert box.policies().active().name == retention.policy.name == "chat"
        assert box.events.after(0).events[-1].event == PolicyChanged("chat", 2, "me")


async def test_the_status_tells_who_waits_and_how_long_others_did() -> None:
    worker = ScriptedWorker(0, [gate := asyncio.Event(), *HELLO], HELLO)
    worker.seats = 1
    box = new_box()
    async with ScriptedBox(worker, accounts=box.accounts) as scripted:
        box.open(scripted.pipeline, scripted.fleet)
        asks = [asyncio.create_task(scripted.ask()) for _ in range(2)]
        await until(lambda: len(scripted.pipeline.dispatcher.queue) == 1)
        queue = box.status().queue
        assert (queue.waiting, queue.waiting_tokens, queue.oldest_seconds, queue.order) == (1, 2, 0.0, "least-missing")
        assert (sum(queue.waits), queue.refused, queue.set_aside) == (1, {}, 0)
        gate.set()
        await asyncio.gather(*asks)
        queue = box.status().queue
        assert (queue.waiting, queue.oldest_seconds, sum(queue.waits)) == (0, None, 2)


def test_the_status_tells_what_was_evicted() -> None:
    box = new_box()
    eviction = Eviction(1, None, 0, "a", "b", "r", 90, "coding-agent.toml:9", 1.0, awaited=True)
    box.accounts.evictions.add(Evicted(0.0, 0, Region.SYSTEM, eviction))
    (kind,) = box.status().evictions.by_kind
    assert (kind.cause, kind.rule, kind.region, kind.blocks) == ("other_session", "coding-agent.toml:9", "system", 1)
    assert box.status().evictions.awaited == 1


def test_evictions_are_told_one_by_one_with_victim_cause_and_rule() -> None:
    box = new_box()
    for block_hash in (b"\x01\xff", 7, None):
        eviction = Eviction(1, block_hash, 32, "a", "b", "r", 90, "coding-agent.toml:9", 1.5, awaited=False)
        box.accounts.evictions.add(Evicted(5.0, 0, Region.SYSTEM, eviction))
    page = box.evictions(None, 2)
    assert [(one.number, one.block_hash) for one in page.evictions] == [(1, 7), (2, None)]
    (first, *_), after, missed = astuple(box.evictions(0, 1))
    assert (after, missed) == (1, 0)
    assert asdict(first) == {
        "number": 0, "at": 5.0, "worker": 0, "block_hash": "01ff", "first_token": 32, "region": "system", "owner": "a",
        "age_seconds": 1.5, "priority": 90, "rule": "coding-agent.toml:9", "awaited": False, "cause": "other_session",
        "cause_session": "b", "cause_request": "r",
    }  # fmt: skip
    assert box.evictions(page.next, 5) == EvictionPage([], 3, 0)


async def _collect(events: AsyncGenerator[Event]) -> list[Event]:
    return [event async for event in events]


def test_the_longest_wait_for_the_loop_is_told_in_milliseconds() -> None:
    box = new_box(Clock(1_700_000_000.0))
    box.loop_lag.add(0.025)
    assert box.status().latency.loop_lag_max_ms == 25.0


async def test_the_phases_of_a_box_are_told_and_its_news_end_with_it() -> None:
    box = new_box(clock := Clock(1_700_000_000.0))
    await box.drain()
    clock.seconds += 1
    box.close()
    assert [each.event for each in box.events.after(0).events] == [PhaseChanged("draining")]
    assert (box.events.boot, box.events.is_closed) == (1_700_000_000, True)
