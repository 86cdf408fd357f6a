from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from appliance.box_events import BlocksEvicted, Dropped, Event
from appliance.cache.errors import InvalidForecast
from appliance.cache.policy_source import load_policy
from appliance.cache.region import Region
from appliance.cache.region_map import RegionMap, Span
from appliance.caretaker import MOST_KEEPS, MOST_PLANS, SAVE_SECONDS, Caretaker, LeadCounts
from appliance.conversation import Hints, Identity
from appliance.engine.retention.eviction import Eviction, EvictionBatch
from appliance.errors import WorkerDied
from appliance.eviction_log import EvictionLog
from appliance.retention import Retention, Subject
from appliance.router.scoring import Room
from appliance.session_forecast import SessionForecast
from tests.clock import Clock
from tests.unit.scripted_worker import ScriptedWorker, until

if TYPE_CHECKING:
    from appliance.engine.worker import Worker

REGIONS = RegionMap([Span(0, 64, Region.SYSTEM), Span(64, 100, Region.USER)])
STATS = {"free": 0, "awaited": 0, "by_priority": {}, "leads_spared": 0, "held_back": 0, "held_back_in_vain": 0}
CODING_AGENT, CHAT, LRU = map(load_policy, ("coding-agent", "chat", "lru"))


class Store:
    """In the place of a file."""

    def __init__(self) -> None:
        self.saved: list[Mapping[str, Any]] = []
        self.found: Mapping[str, Any] | Exception | None = None
        self.fault: OSError | None = None

    def load(self) -> Mapping[str, Any] | None:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def save(self, learned: Mapping[str, Any]) -> None:
        if self.fault is not None:
            raise self.fault
        self.saved.append(learned)


class Care:
    """A caretaker of scripted workers that are up, and the sessions it cares for."""

    def __init__(self, *workers: ScriptedWorker, policy: str = "coding-agent") -> None:
        self.clock, self.store, self.log = Clock(), Store(), EvictionLog()
        self.forecast = SessionForecast(clock=self.clock)
        self.retention = Retention(load_policy(policy), forecast=self.forecast, clock=self.clock)
        self.ticks: asyncio.Queue[None] = asyncio.Queue()
        self.rooms: dict[int, Room] = {}
        self.caretaker = Caretaker(
            self.retention,
            cast("Sequence[Worker]", workers),
            self.log,
            self.store,
            clock=self.clock,
            wall_clock=self.clock,
            sleep=self._sleep,
            on_room=self.rooms.__setitem__,
        )
        self.num_sleeps = 0

    async def _sleep(self, _seconds: float) -> None:
        self.num_sleeps += 1
        await self.ticks.get()

    async def tick(self, seconds: float = 1.0) -> None:
        self.clock.seconds += seconds
        self.caretaker.tick()
        await self.caretaker.settled()

    def begin(self, name: str) -> Subject:
        subject = Subject(Identity(name), "m", Hints(), REGIONS, ())
        self.retention.begin(subject)
        return subject

    def ask(self, name: str, stop_reason: str = "stop") -> None:
        self.retention.end(self.begin(name), stop_reason)


async def started(*workers: ScriptedWorker) -> None:
    for worker in workers:
        await worker.start()


@asynccontextmanager
async def running(care: Care) -> AsyncIterator[None]:
    """The first tick is done."""
    care.caretaker.start()
    try:
        await until(lambda: care.num_sleeps == 1)
        yield
    finally:
        await care.caretaker.stop()


def eviction(owner: str | None, first_token: int) -> Eviction:
    return Eviction(1, None, first_token, owner, "other", "r", 90, "coding-agent.toml:9", 1.0, awaited=False)


def priorities(payload: Mapping[str, Any]) -> list[int]:
    return [directive["priority"] for directive in payload["directives"]]


async def test_every_engine_is_told_what_idle_sessions_are_worth_and_nothing_of_running_ones() -> None:
    workers = ScriptedWorker(0), ScriptedWorker(1)
    await started(*workers)
    care = Care(*workers)
    care.ask("idle", "tool_calls")
    care.begin("runs")
    await care.tick()
    assert workers[0].keeps == workers[1].keeps == care.forecast.keeps()
    assert care.forecast.keeps().keys() == {"idle"}


async def test_what_sessions_are_worth_is_worked_out_once_for_all_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = ScriptedWorker(0), ScriptedWorker(1)
    await started(*workers)
    care = Care(*workers)
    care.ask("idle")
    found = iter([{"idle": 0.5}])
    monkeypatch.setattr(care.forecast, "keeps", lambda: next(found))
    await care.tick()
    assert workers[0].keeps == workers[1].keeps == {"idle": 0.5}


async def test_a_session_that_asks_again_meanwhile_is_not_told_to_be_idle() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    care.ask("idle")
    care.ask("returns")
    care.caretaker.tick()
    care.begin("returns")
    await care.caretaker.settled()
    assert worker.keeps is not None
    assert worker.keeps.keys() == {"idle"}


async def test_what_has_not_changed_is_not_told_again_but_to_an_engine_that_was_started_anew() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    care.ask("idle")
    await care.tick(100)
    await care.tick(0)
    assert [len(keeps) for keeps in worker.told_keeps] == [1, 0]
    await care.tick(400)
    assert len(worker.told_keeps[-1]) == 1
    worker.process += 1
    await care.tick(0)
    assert len(worker.told_keeps[-1]) == 1


async def test_many_sessions_are_told_in_pieces() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    for number in range(MOST_KEEPS + 1):
        care.ask(f"s{number}")
    await care.tick()
    assert [len(keeps) for keeps in worker.told_keeps] == [MOST_KEEPS, 1]


async def test_an_order_of_last_use_tells_of_no_forecast_and_ends_one() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker, policy="lru")
    care.ask("idle")
    await care.tick()
    orders = [worker.keeps is None]
    for policy in (CODING_AGENT, LRU):
        await care.caretaker.apply(policy)
        orders.append(worker.keeps is None)
    assert orders == [True, False, True]


async def test_a_session_that_silence_has_finished_is_planned_once_more_and_worth_nothing() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    care.ask("quiet")
    await care.tick()
    assert worker.replans == []
    await care.tick(3600)
    ((name, payload),) = worker.replans
    assert (name, set(priorities(payload))) == ("quiet", {0})
    assert worker.keeps == {"quiet": 0.0}
    await care.tick()
    assert len(worker.replans) == 1


async def test_a_session_that_comes_back_after_that_can_finish_again() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    for _ in range(2):
        care.ask("quiet")
        await care.tick(3600)
    assert len(worker.replans) == 2


async def test_a_new_policy_is_told_first_by_rule_then_by_session() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    care.ask("idle")
    care.begin("runs")
    await care.caretaker.apply(CHAT)
    assert care.caretaker.policy is CHAT
    (worths,) = worker.worths
    assert worths[CHAT.rules[0].label] == worths[CODING_AGENT.rules[0].label]
    assert [name for name, _ in worker.replans] == ["idle", "runs"]
    assert priorities(worker.replans[0][1]) == [90, 50, 50]
    assert priorities(care.retention.begin(Subject(Identity("new"), "m", Hints(), REGIONS, ()))) == [90, 50, 50]


async def test_an_engine_that_is_busy_learns_of_a_new_policy_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.caretaker.APPLY_SECONDS", 0.0)
    await started(slow := ScriptedWorker(0), quick := ScriptedWorker(1))
    slow.gate = asyncio.Event()
    care = Care(slow, quick)
    care.ask("idle")
    care.caretaker.tick()
    await until(lambda: quick.keeps is not None)
    await care.caretaker.apply(CHAT)
    await until(lambda: bool(quick.replans))
    assert slow.worths == []
    slow.gate.set()
    await until(lambda: slow.keeps is not None)
    await asyncio.sleep(0)
    care.caretaker.tick()
    await until(lambda: bool(slow.replans))
    assert len(slow.worths) == 1


async def test_many_sessions_are_planned_anew_in_pieces() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    for number in range(2 * MOST_PLANS + 1):
        care.ask(f"s{number}")
    await care.caretaker.apply(CHAT)
    assert len(worker.replans) == 2 * MOST_PLANS + 1


async def test_evictions_are_heard_with_their_regions_until_none_is_left() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    care.ask("a")
    worker.evicted += [
        EvictionBatch((eviction("a", 0), eviction("a", 64)), 2, 0),
        EvictionBatch((eviction("a", 128), eviction("unknown", 0)), 0, 3),
    ]
    told: list[tuple[int, int, float | None]] = []
    care.caretaker.on_evictions = lambda worker, evicted, up_to: told.append((worker, len(evicted), up_to))
    await care.tick()
    assert [each.region for each in care.log.recent] == [Region.SYSTEM, Region.USER, Region.OUTPUT, None]
    assert care.log.num_dropped == 3
    assert told == [(0, 2, None), (0, 2, care.clock.seconds)]


async def test_an_engine_that_dies_meanwhile_disturbs_nobody() -> None:
    dies, lives = ScriptedWorker(0), ScriptedWorker(1)
    await started(dies, lives)
    dies.gate = asyncio.Event()
    care = Care(dies, lives)
    care.ask("idle")
    care.caretaker.tick()
    dies.end()
    dies.gate.set()
    await care.caretaker.settled()
    assert (dies.keeps, lives.keeps) == (None, care.forecast.keeps())
    await care.tick()


async def test_what_was_learned_is_restored_and_saved_now_and_then_and_at_the_end() -> None:
    care = Care()
    before = SessionForecast(clock=care.clock)
    for _ in range(3):
        before.arrived("a")
        before.ended("a", "stop", Hints())
        care.clock.seconds += 1
    care.store.found = before.learned()
    async with running(care):
        assert care.forecast.learned() == before.learned()
        care.clock.seconds += SAVE_SECONDS
        care.ticks.put_nowait(None)
        await asyncio.sleep(0)
        assert care.store.saved == []
        care.ask("a")
        care.ask("a")
        care.clock.seconds += SAVE_SECONDS
        care.ticks.put_nowait(None)
        await until(lambda: bool(care.store.saved))
        assert care.store.saved == [care.forecast.learned()]
        care.ask("a")
    assert care.store.saved[-1] == care.forecast.learned()
    assert len(care.store.saved) == 2


async def test_what_cannot_be_restored_or_saved_is_told_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    care = Care()
    care.store.found = InvalidForecast("forecast.json: holds no JSON object")
    with caplog.at_level(logging.WARNING):
        async with running(care):
            care.ask("a")
            care.ask("a")
            care.store.fault = OSError("disk full")
    assert [record.getMessage() for record in caplog.records] == [
        "forecast.json: holds no JSON object; the forecast begins anew",
        "the forecast could not be saved: disk full",
    ]


async def test_what_is_free_in_each_cache_is_told_with_each_tick() -> None:
    silent, told = ScriptedWorker(0), ScriptedWorker(1)
    await started(silent, told)
    told.stats = STATS | {"free": 10, "awaited": 3, "by_priority": {0: 4, 35: 20, 36: 5, 90: 6}}
    care = Care(silent, told)
    await care.tick()
    assert care.rooms == {1: Room(free_blocks=10, unclaimed_blocks=24, claimed_blocks=14)}


async def test_what_an_engine_says_of_leads_is_known_until_another_process_takes_its_place() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    assert care.caretaker.leads(0) is None
    worker.stats = STATS | {"leads_spared": 2, "held_back": 5, "held_back_in_vain": 1}
    await care.tick()
    assert care.caretaker.leads(0) == LeadCounts(spared=2, held_back=5, in_vain=1)
    worker.process += 1
    worker.stats = None
    await care.tick()
    assert care.caretaker.leads(0) is None
    assert care.caretaker.leads(7) is None


async def test_what_an_engine_told_at_once_is_one_event_with_those_who_lost_most() -> None:
    await started(worker := ScriptedWorker(0))
    care = Care(worker)
    told: list[Event] = []
    care.caretaker.emit = told.append
    lost = (eviction("b", 0), eviction("a", 0), eviction(None, 2), eviction("a", 2))
    worker.evicted.append(EvictionBatch(lost, 0, 3))
    await care.tick()
    await care.tick()
    assert told == [BlocksEvicted(0, 4, 0, 0, {"a": 2, "b": 1}), Dropped("evictions", 3)]


async def test_a_session_is_planned_anew_on_all_engines_at_once_and_those_that_die_are_left_out() -> None:
    workers = ScriptedWorker(0), ScriptedWorker(1), ScriptedWorker(2)
    await started(*workers)
    care = Care(*workers)
    care.ask("a")
    workers[0].owned = {"a": 7}
    workers[2].end()
    workers[1].replan = failing  # type: ignore[method-assign]
    assert await care.caretaker.replan("a") == {0: 7}
    assert await care.caretaker.replan("nobody") == {}
    await care.tick()
    assert [name for name, _ in workers[1].replans] == ["a"]


async def failing(session_id: str, payload: dict[str, Any]) -> int:
    raise WorkerDied(session_id)
