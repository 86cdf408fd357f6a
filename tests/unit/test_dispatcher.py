from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.accounting import QueueAccount
from appliance.cache.queue_order import PATIENCE_SECONDS, QueueOrder
from appliance.dispatcher import TICK_SECONDS, Dispatcher
from appliance.errors import NotReady, SetAside, TooManyRequests
from appliance.router.decision import Decision
from appliance.router.errors import NoWorker
from appliance.router.hashing import Hashes, hash_blocks
from appliance.router.index import PrefixIndex
from appliance.router.places import Errand, Place
from appliance.router.queue import Importance
from appliance.router.room import Capacity
from appliance.router.router import Router, RoutingPolicy
from appliance.waiting_room import QueueLimits
from tests.examples import examples

BLOCK_TOKENS = 4
STEP_TOKENS = 8
"""So 16 tokens, or four blocks, may wait to be computed on a worker."""
LIMITS = QueueLimits(depth=4, wait_seconds=600.0, make_room_after_seconds=None)


@dataclass
class FakeEngines:
    workers: int
    seats: int = 8
    kv_blocks: int | None = None
    gone: set[int] = field(default_factory=set)
    protected: dict[tuple[int, str], int] = field(default_factory=dict)
    """How many blocks, by worker and name."""

    def ids(self) -> frozenset[int]:
        return frozenset(range(self.workers))

    def dead(self) -> frozenset[int]:
        return frozenset(self.gone)

    def capacity(self, worker_id: int) -> Capacity:
        return Capacity(self.seats, STEP_TOKENS, self.kv_blocks)

    def kv_usage(self, worker_id: int) -> float | None:
        return None

    def protect(self, worker_id: int, name: str, hashes: Hashes) -> None:
        self.protected[worker_id, name] = hashes.size

    def release(self, worker_id: int, name: str) -> None:
        self.protected.pop((worker_id, name), None)


class Bench:
    """A dispatcher over a real router, and a clock and timers that stand still until they are told."""

    def __init__(self, workers: int = 1, limits: QueueLimits = LIMITS, **engines: Any) -> None:
        self.seconds = 0.0
        self.timers: list[Callable[[], None]] = []
        self.index = PrefixIndex()
        self.router = Router(
            self.index,
            range(workers),
            RoutingPolicy.KV,
            block_tokens=BLOCK_TOKENS,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )
        self.engines = FakeEngines(workers, **engines)
        self.account = QueueAccount()
        self.dispatcher = Dispatcher(
            self.router, self.engines, limits, self.account, clock=lambda: self.seconds, later=self._later
        )
        self.asked: list[tuple[str, int]] = []
        """Who was set aside, and where."""
        self.tasks: dict[str, asyncio.Task[Place]] = {}
        self._tokens = 0

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == TICK_SECONDS
        self.timers.append(call)

    def tick(self, seconds: float = TICK_SECONDS) -> None:
        self.seconds += seconds
        timers, self.timers = self.timers, []
        for call in timers:
            call()

    def prompt(self, num_blocks: int) -> list[int]:
        """One that nobody has seen."""
        self._tokens += num_blocks * BLOCK_TOKENS
        return list(range(self._tokens - num_blocks * BLOCK_TOKENS, self._tokens))

    def hold(self, worker: int, tokens: list[int]) -> None:
        """The worker has these tokens in its cache."""
        self.index.store(worker, hash_blocks(tokens, BLOCK_TOKENS), parent=None)

    def errand(self, name: str, tokens: list[int] | None = None, **fields: Any) -> Errand:
        prompt = self.prompt(4) if tokens is None else tokens
        errand = Errand(
            name, partial(self._choose, prompt), self.router.admit, set_aside=partial(self._set_aside, name)
        )
        return replace(errand, **fields)

    def _choose(self, tokens: list[int], exclude: frozenset[int]) -> Decision:
        return self.router.route(tokens, exclude=exclude)

    def _set_aside(self, name: str, worker: int) -> None:
        self.asked.append((name, worker))

    async def ask(self, name: str, tokens: list[int] | None = None, **fields: Any) -> asyncio.Task[Place]:
        """Comes and, if there is no room, waits."""
        task = self.tasks[name] = asyncio.create_task(self.dispatcher.place(self.errand(name, tokens, **fields)))
        await settle()
        self.check()
        return task

    async def placed(self, name: str, tokens: list[int] | None = None, **fields: Any) -> Place:
        task = await self.ask(name, tokens, **fields)
        assert task.done(), f"{name} waits"
        return task.result()

    async def end(self, place: Place) -> None:
        place.close()
        await settle()
        self.check()

    def waiting(self) -> list[str]:
        return [name for name, task in self.tasks.items() if not task.done()]

    def has_place(self, name: str) -> bool:
        task = self.tasks[name]
        return task.done() and not task.cancelled() and task.exception() is None

    def check(self) -> None:
        self.dispatcher.check_integrity()
        self.router.check_integrity()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_with_room_a_request_goes_at_once_and_nobody_is_told_to_keep_its_blocks() -> None:
    bench = Bench()
    place = await bench.placed("a")
    assert (place.worker, bench.waiting(), bench.engines.protected, bench.timers) == (0, [], {}, [])
    assert (bench.account.waits[0], sum(bench.account.waits)) == (1, 1)


async def test_without_room_a_request_waits_until_prompts_are_read() -> None:
    bench = Bench()
    first = await bench.placed("a")
    await bench.ask("b")
    assert bench.waiting() == ["b"]
    first.advance(1)
    await settle()
    assert bench.waiting() == []
    assert bench.tasks["b"].result().worker == 0


async def test_the_most_important_goes_first_and_then_who_lacks_least() -> None:
    bench = Bench()
    places = [await bench.placed("now")]
    await bench.ask("long", bench.prompt(9))
    await bench.ask("short", bench.prompt(5))
    await bench.ask("important", bench.prompt(30), priority=1)
    await bench.ask("strict", bench.prompt(90), tier=1, priority=-5)
    order = []
    while bench.waiting():
        before = set(bench.waiting())
        await bench.end(places.pop())
        (served,) = before - set(bench.waiting())
        order.append(served)
        places.append(bench.tasks[served].result())
    assert order == ["strict", "important", "short", "long"]


async def test_near_saturation_sessions_amid_their_turn_go_before_new_turns() -> None:
    bench = Bench()
    place = await bench.placed("now")
    bench.tick(600.0)
    await bench.ask("new", bench.prompt(4))
    await bench.ask("tool loop", bench.prompt(8), is_in_turn=True)
    assert bench.dispatcher.prefill_use.order is QueueOrder.IN_TURN
    await bench.end(place)
    assert bench.waiting() == ["new"]


async def test_an_unimportant_request_is_served_after_the_patience_while_important_ones_keep_coming() -> None:
    bench = Bench(limits=replace(LIMITS, depth=99))
    place, served = await bench.placed("now"), 0
    await bench.ask("low", priority=-1)
    while "low" in bench.waiting():
        await bench.ask(f"high {served}", priority=5)
        bench.tick(1.0)
        await bench.end(place)
        if "low" in bench.waiting():
            place, served = bench.tasks[f"high {served}"].result(), served + 1
    assert min(PATIENCE_SECONDS.values()) - 1 <= served <= max(PATIENCE_SECONDS.values()) + 2


async def test_a_request_is_routed_when_it_is_taken_not_when_it_came() -> None:
    bench = Bench(workers=2)
    places = [await bench.placed("a"), await bench.placed("b")]
    prompt = bench.prompt(4)
    task = await bench.ask("c", prompt)
    lane = bench.dispatcher.queue.lanes[0]
    other = next(place for place in places if place.worker != lane)
    bench.hold(other.worker, prompt)
    await bench.end(other)
    assert not task.done() or task.result().worker == other.worker
    await bench.end(next(place for place in places if place.worker == lane))
    assert task.result().worker == other.worker
    assert task.result().decision.overlap_blocks == 4


async def test_whoever_has_its_prefix_on_a_busy_worker_waits_for_that_rather_than_compute_it_again() -> None:
    bench = Bench(workers=2)
    prefix = bench.prompt(40)
    bench.hold(0, prefix)
    first = await bench.placed("first", prefix + bench.prompt(4))
    assert first.worker == 0
    task = await bench.ask("second", prefix + bench.prompt(1))
    assert bench.waiting() == ["second"]
    await bench.end(first)
    assert task.result().worker == 0


async def test_an_idle_worker_takes_over_what_it_would_have_done_before_the_busy_one_comes_to_it() -> None:
    bench = Bench(workers=2, limits=replace(LIMITS, depth=99))
    prefix = bench.prompt(12)
    bench.hold(0, prefix)
    await bench.placed("first", prefix + bench.prompt(4))
    for number in range(6):
        await bench.ask(f"next {number}", prefix + bench.prompt(2))
    assert {bench.tasks[name].result().worker for name in bench.tasks if bench.has_place(name)} == {0, 1}


async def test_no_worker_is_idle_while_all_seats_of_another_are_taken() -> None:
    bench = Bench(workers=2, seats=1)
    prefix = bench.prompt(40)
    bench.hold(0, prefix)
    place = await bench.placed("first", prefix)
    place.advance(1)
    other = await bench.placed("second", prefix + bench.prompt(1))
    assert (place.worker, other.worker) == (0, 1)


async def test_a_pinned_request_waits_for_its_worker_and_an_unpinned_one_goes_past_it() -> None:
    bench = Bench(workers=2)
    first = await bench.placed("first", pin=1)
    task = await bench.ask("pinned", pin=1)
    await bench.placed("free")
    bench.tick()
    assert not task.done()
    await bench.end(first)
    assert task.result().worker == 1


async def test_a_pin_to_a_worker_that_is_gone_is_passed_over() -> None:
    bench = Bench(workers=2)
    bench.engines.gone.add(1)
    assert (await bench.placed("pinned", pin=1)).worker == 0


async def test_a_worker_that_is_to_be_avoided_is_taken_only_when_no_other_lives() -> None:
    bench = Bench(workers=2)
    assert (await bench.placed("a", avoid=frozenset({0}))).worker == 1
    bench.engines.gone.add(1)
    bench.router.remove_worker(1)
    assert (await bench.placed("b", avoid=frozenset({0}))).worker == 0


async def test_those_who_wait_for_a_worker_that_dies_go_elsewhere() -> None:
    bench = Bench(workers=2)
    places = [await bench.placed("a"), await bench.placed("b")]
    task = await bench.ask("c")
    lane = bench.dispatcher.queue.lanes[0]
    bench.engines.gone.add(lane)
    bench.router.remove_worker(lane)
    for place in places:
        await bench.end(place)
    assert task.result().worker != lane


async def test_when_the_last_worker_dies_those_who_wait_are_told() -> None:
    bench = Bench()
    place = await bench.placed("a")
    task = await bench.ask("b")
    bench.engines.gone.add(0)
    bench.router.remove_worker(0)
    await bench.end(place)
    assert isinstance(task.exception(), NoWorker)
    with pytest.raises(NoWorker):
        await bench.dispatcher.place(bench.errand("c"))


async def test_the_place_of_a_client_that_leaves_is_free() -> None:
    bench = Bench(limits=replace(LIMITS, depth=1))
    place = await bench.placed("a")
    gone = await bench.ask("b")
    gone.cancel()
    await settle()
    assert (len(bench.dispatcher.queue), bench.engines.protected) == (0, {})
    task = await bench.ask("c")
    await bench.end(place)
    assert task.result().worker == 0


async def test_a_client_that_leaves_just_as_its_turn_comes_gives_the_place_back() -> None:
    bench = Bench()
    place = await bench.placed("a")
    gone, task = await bench.ask("b"), await bench.ask("c")
    place.close()
    gone.cancel()
    await settle()
    assert gone.cancelled()
    assert task.done()
    bench.check()
    assert sum(status.running for status in bench.router.snapshot()) == 1


async def test_a_full_queue_refuses_who_is_not_more_important_and_tells_when_to_come_again() -> None:
    bench = Bench(limits=replace(LIMITS, depth=2))
    place = await bench.placed("a")
    for name in ("b", "c"):
        await bench.ask(name)
    with pytest.raises(TooManyRequests, match="2 requests wait here already") as caught:
        bench.dispatcher.refuse_when_full(Importance(0, 0))
    assert (caught.value.status, caught.value.code, caught.value.retry_after_seconds) == (429, "queue_full", 1)
    assert isinstance((await bench.ask("d")).exception(), TooManyRequests)
    bench.seconds += 7.2
    await bench.end(place)
    await bench.ask("e")
    with pytest.raises(TooManyRequests) as caught:
        bench.dispatcher.refuse_when_full(Importance(0, 0))
    assert caught.value.retry_after_seconds == 8
    assert bench.account.refused == {"full": 3}


async def test_in_a_full_queue_the_least_important_gives_way_to_a_more_important_one() -> None:
    bench = Bench(limits=replace(LIMITS, depth=2))
    await bench.placed("a")
    await bench.ask("b")
    displaced = await bench.ask("c")
    bench.dispatcher.refuse_when_full(Importance(0, 1))
    await bench.ask("d", priority=1)
    error = displaced.exception()
    assert isinstance(error, TooManyRequests)
    assert (error.code, bench.waiting()) == ("queue_displaced", ["b", "d"])


async def test_who_was_let_in_before_is_never_refused() -> None:
    bench = Bench(limits=replace(LIMITS, depth=1, wait_seconds=5.0))
    place = await bench.placed("a")
    await bench.ask("b")
    task = await bench.ask("resumed", may_be_refused=False, priority=-1)
    await bench.ask("important", priority=1)
    bench.tick(100.0)
    await settle()
    assert bench.waiting() == ["resumed"]
    await bench.end(place)
    assert task.result().worker == 0


async def test_who_has_waited_too_long_is_told_so() -> None:
    bench = Bench(limits=replace(LIMITS, wait_seconds=5.0))
    await bench.placed("a")
    first = await bench.ask("b")
    bench.tick(3.0)
    await bench.ask("c")
    bench.tick(2.0)
    await settle()
    error = first.exception()
    assert isinstance(error, TooManyRequests)
    assert (error.code, error.message) == ("queue_timeout", "no worker had room for this request within 5 s")
    assert (bench.waiting(), bench.account.refused) == (["c"], {"timeout": 1})


async def test_after_the_end_those_who_wait_and_those_who_come_are_told_why() -> None:
    bench = Bench()
    await bench.placed("a")
    task = await bench.ask("b")
    bench.dispatcher.close("The box is shutting down.")
    await settle()
    assert isinstance(task.exception(), NotReady)
    with pytest.raises(NotReady, match="shutting down"):
        await bench.dispatcher.place(bench.errand("c"))
    bench.check()


async def test_the_cache_is_told_who_waits_until_the_first_token_is_there() -> None:
    bench = Bench()
    prefix = bench.prompt(3)
    bench.hold(0, prefix)
    place = await bench.placed("a")
    task = await bench.ask("b", prefix + bench.prompt(5))
    assert bench.engines.protected == {(0, "b"): 3}
    await bench.end(place)
    assert bench.engines.protected == {(0, "b"): 3}
    task.result().advance(1)
    assert bench.engines.protected == {}


@pytest.mark.parametrize("how", ["cancelled", "timeout", "closed"])
async def test_the_cache_is_told_of_whoever_waits_no_more(how: str) -> None:
    bench = Bench(limits=replace(LIMITS, wait_seconds=5.0))
    place = await bench.placed("a")
    task = await bench.ask("b")
    assert bench.engines.protected == {(0, "b"): 0}
    if how == "cancelled":
        task.cancel()
    elif how == "timeout":
        bench.tick(6.0)
    else:
        await bench.end(place)
        task.result().close()
    await settle()
    assert bench.engines.protected == {}
    assert how == "closed" or not task.done() or task.cancelled() or task.exception()


async def test_the_answer_that_is_expected_takes_room_in_memory() -> None:
    bench = Bench(kv_blocks=20)
    (await bench.placed("a", answer_tokens=12 * BLOCK_TOKENS)).advance(1)
    await bench.ask("b", answer_tokens=BLOCK_TOKENS)
    assert bench.waiting() == ["b"]
    bench = Bench(kv_blocks=20)
    (await bench.placed("a", answer_tokens=11 * BLOCK_TOKENS)).advance(1)
    await bench.placed("b", answer_tokens=BLOCK_TOKENS)


async def test_background_work_leaves_room_for_what_comes_after_it() -> None:
    bench = Bench()
    await bench.placed("a", bench.prompt(2))
    await bench.ask("background", bench.prompt(2), priority=-1)
    assert bench.waiting() == ["background"]
    await bench.placed("b", bench.prompt(2))


async def test_for_a_more_important_request_a_running_one_is_set_aside_after_a_while() -> None:
    bench = Bench(limits=replace(LIMITS, make_room_after_seconds=1.0))
    low = await bench.placed("low", priority=-1)
    task = await bench.ask("high")
    bench.tick(0.5)
    assert (bench.asked, task.done()) == ([], False)
    bench.tick(0.5)
    await settle()
    assert bench.asked == [("low", 0)]
    assert (low.is_closed, task.done(), bench.account.set_aside) == (True, True, 1)
    bench.check()


async def test_nobody_is_set_aside_for_one_of_the_same_importance_or_who_cannot_come_back_or_has_been_read() -> None:
    bench = Bench(limits=replace(LIMITS, make_room_after_seconds=1.0))
    await bench.placed("cannot", bench.prompt(2), priority=-1, set_aside=None)
    await bench.placed("same", bench.prompt(2))
    task = await bench.ask("next")
    bench.tick(60.0)
    assert (bench.asked, task.done()) == ([], False)
    bench = Bench(limits=replace(LIMITS, make_room_after_seconds=1.0))
    (await bench.placed("read", priority=-1)).advance(1)
    await bench.placed("same")
    await bench.ask("next")
    bench.tick(60.0)
    assert bench.asked == []


async def test_where_seats_lack_the_least_important_answer_makes_room_and_of_several_the_last() -> None:
    bench = Bench(seats=3, limits=replace(LIMITS, make_room_after_seconds=1.0))
    for name, priority in (("a", -1), ("b", 1), ("c", 0)):
        (await bench.placed(name, bench.prompt(1), priority=priority)).advance(1)
    await bench.ask("high", priority=2)
    bench.tick(1.0)
    assert bench.asked == [("a", 0)]
    bench = Bench(seats=2, limits=replace(LIMITS, make_room_after_seconds=1.0))
    for name in ("a", "b"):
        (await bench.placed(name, bench.prompt(1))).advance(1)
    await bench.ask("high", priority=2)
    bench.tick(1.0)
    assert bench.asked == [("b", 0)]


async def test_while_somebody_waits_room_that_nobody_told_of_is_found() -> None:
    bench = Bench(kv_blocks=20)
    (await bench.placed("a", bench.prompt(15))).advance(1)
    task = await bench.ask("b", bench.prompt(6))
    assert (len(bench.timers), task.done()) == (1, False)
    bench.tick()
    bench.engines.kv_blocks = 40
    bench.tick()
    await settle()
    assert (task.done(), bench.timers) == (True, [])


class Life:
    """Requests come, are read, end and leave; workers die and return; time passes."""

    def __init__(self) -> None:
        self.bench = Bench(workers=2, seats=3, kv_blocks=40, limits=QueueLimits(3, 50.0, 1.0))
        self.places: list[Place] = []
        self._known: set[str] = set()

    async def come(self, pick: int, priority: int) -> None:
        name = str(len(self.bench.tasks))
        await self.bench.ask(name, self.bench.prompt(1 + pick), priority=priority, may_be_refused=pick != 3)

    async def start(self, pick: int, _: int) -> None:
        if not self.places:
            return
        place = self.places[pick % len(self.places)]
        if place.is_closed and place.is_reading:
            # It made room for another before its prompt was read.
            with pytest.raises(SetAside):
                place.advance(1)
            self.places.remove(place)
        else:
            place.advance(1)

    async def end(self, pick: int, _: int) -> None:
        if self.places:
            self.places.pop(pick % len(self.places)).close()

    async def leave(self, pick: int, _: int) -> None:
        if waiting := self.bench.waiting():
            self.bench.tasks[waiting[pick % len(waiting)]].cancel()

    async def tick(self, pick: int, _: int) -> None:
        self.bench.tick(float(pick))

    async def die(self, pick: int, _: int) -> None:
        worker = pick % 2
        self.bench.engines.gone.add(worker)
        self.bench.router.remove_worker(worker)
        for place in [place for place in self.places if place.worker == worker]:
            self.places.remove(place)
            place.close()

    async def come_back(self, pick: int, _: int) -> None:
        self.bench.engines.gone.discard(pick % 2)
        self.bench.router.add_worker(pick % 2)

    async def settle(self) -> None:
        await settle()
        for name, task in self.bench.tasks.items():
            if name not in self._known and self.bench.has_place(name):
                self._known.add(name)
                self.places.append(task.result())
        self.bench.check()
        assert len(self.bench.dispatcher.queue) == len(self.bench.waiting())

    async def end_all(self) -> None:
        while self.places:
            self.places.pop().close()
            await self.settle()


steps = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "come", "start", "end", "leave", "tick", "die", "come_back"]),
        st.integers(0, 9),
        st.integers(-1, 1),
    ),
    max_size=40,
)


@settings(max_examples=examples(80), deadline=None)
@given(steps)
def test_whatever_happens_everybody_is_served_refused_or_told_and_nothing_is_left(
    steps: list[tuple[str, int, int]],
) -> None:
    async def live() -> Bench:
        life = Life()
        for what, pick, priority in steps:
            await getattr(life, what)(pick, priority)
            await life.settle()
        await life.end_all()
        return life.bench

    bench = asyncio.run(live())
    assert bench.waiting() == []
    assert (len(bench.dispatcher.places), bench.engines.protected) == (0, {})
    errors = [task.exception() for task in bench.tasks.values() if not task.cancelled()]
    assert all(error is None or isinstance(error, TooManyRequests | NoWorker) for error in errors)
    assert sum(status.running for status in bench.router.snapshot()) == 0
