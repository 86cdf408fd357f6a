"""A request under way ended by an operator, whatever it is at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from appliance.api.problems import NothingOfThisName
from appliance.audit import Audit
from appliance.cache.prompt_read import Brought
from appliance.conversation import Identity
from appliance.errors import CancelledByOperator
from appliance.generation import Delta, Event
from appliance.records import Outcome
from appliance.request_desk import RequestDesk
from tests.unit.scripted_worker import ScriptedBox, ScriptedWorker, conversation, steps_of, until

STEPS = steps_of(["a", "b", "c"], cached_tokens=2)
ASKED = conversation("hello", identity=Identity("s"))


class Bench:
    """A desk over scripted workers. `told` are the events of its last request, `error` is what ended it."""

    def __init__(self, *workers: ScriptedWorker) -> None:
        self.box = ScriptedBox(*workers)
        self.audit = Audit()
        self.desk = RequestDesk(self.box.pipeline, (), has_host_tier=False, audit=self.audit)
        self.told: list[Event] = []
        self.error: Exception | None = None

    async def ask(self) -> None:
        prepared = await self.box.pipeline.prepare(ASKED, "chatcmpl-1")
        try:
            async for event in prepared.events():
                self.told.append(event)
        except CancelledByOperator as error:
            self.error = error

    async def recorded(self) -> Any:
        await self.box.pipeline.book.settle()
        return next(one for one in self.box.pipeline.book.newest(9) if one.id == "chatcmpl-1")


@asynccontextmanager
async def serving(*workers: ScriptedWorker) -> AsyncIterator[Bench]:
    bench = Bench(*workers)
    async with bench.box:
        yield bench
        bench.box.pipeline.book.close()
        assert len(bench.box.pipeline.under_way) == 0
        assert all(worker.num_open == 0 for worker in workers)


async def cancelled(bench: Bench, asking: asyncio.Task[None]) -> Any:
    """What the desk says to it; its record has to say the same."""
    told = await bench.desk.cancel("chatcmpl-1", "ann", dry_run=False)
    await asyncio.wait_for(asking, 5)
    assert str(bench.error) == "ann cancelled this request"
    record = await bench.recorded()
    assert (record.outcome, record.error) == (Outcome.ABORTED, "ann cancelled this request")
    outcomes = bench.box.accounts.outcomes
    assert (outcomes.failed, outcomes.aborted) == (0, 1)
    return told


async def test_an_answer_ends_with_an_error_and_what_was_computed_stays_cached() -> None:
    worker = ScriptedWorker(0, [*STEPS[:2], asyncio.Event(), STEPS[2]])
    async with serving(worker) as bench:
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.told) == 3)
        weighed = await bench.desk.cancel("chatcmpl-1", "ann", dry_run=True)
        assert (weighed.kept_tokens, weighed.effect) == (6, None)
        assert weighed.impact == (
            "ends an answer of s after 2 tokens; 6 tokens of prompt and answer stay in the cache of worker 0"
        )
        assert not asking.done()
        told = await cancelled(bench, asking)
        assert (told.request.phase, told.effect) == ("decode", "cancelled by ann after 2 tokens")
        assert [type(event) for event in bench.told[1:]] == [Delta, Delta]
        record = await bench.recorded()
        assert (record.completion_tokens, record.cached_tokens, record.session) == (2, 2, "s")


async def test_it_is_audited_and_told_as_an_event_and_a_dry_run_is_neither() -> None:
    async with serving(ScriptedWorker(0, [STEPS[0], asyncio.Event()])) as bench:
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.told) == 2)
        await bench.desk.cancel("chatcmpl-1", "ann", dry_run=True)
        assert bench.audit.newest(9) == []
        await cancelled(bench, asking)
        (action,) = bench.audit.newest(9)
        assert (action.who, action.verb, action.target) == ("ann", "request cancel", "chatcmpl-1")
        assert action.effect == "cancelled by ann after 1 token"
        told = [kept.event for kept in bench.box.pipeline.events.after(0).events]
        assert [type(one).__name__ for one in told] == ["RequestStarted", "RequestCancelled", "RequestFinished"]


async def test_what_an_engine_still_makes_is_not_told_after_it() -> None:
    more = asyncio.Event()
    async with serving(ScriptedWorker(0, [STEPS[0], more, *STEPS[1:]])) as bench:
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.told) == 2)
        more.set()
        await cancelled(bench, asking)
        assert len(bench.told) == 2


async def test_one_whose_prompt_is_read_ends_and_the_next_has_its_place() -> None:
    worker = ScriptedWorker(0, [asyncio.Event(), *STEPS], STEPS)
    worker.seats = 1
    async with serving(worker) as bench:
        asking = asyncio.create_task(bench.ask())
        await until(lambda: bool(worker.calls))
        next_one = asyncio.create_task(bench.box.ask())
        await until(lambda: len(bench.box.pipeline.dispatcher.room) == 1)
        told = await cancelled(bench, asking)
        assert told.kept_tokens is None
        assert told.impact.startswith("a prompt of s of 5 tokens is being read: what was computed of it stays")
        assert len(await next_one) == 5


async def test_one_that_waits_in_the_queue_leaves_it() -> None:
    go = asyncio.Event()
    worker = ScriptedWorker(0, [go, *STEPS])
    worker.seats = 1
    async with serving(worker) as bench:
        running = asyncio.create_task(bench.box.ask())
        await until(lambda: bool(worker.calls))
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.box.pipeline.dispatcher.room) == 1)
        told = await cancelled(bench, asking)
        assert told.impact == "a request of s with 5 tokens still waits: nothing was computed for it"
        assert len(bench.box.pipeline.dispatcher.room) == 0
        go.set()
        await running


async def test_one_whose_turn_has_just_come_reaches_no_engine() -> None:
    go = asyncio.Event()
    worker = ScriptedWorker(0, [go, *STEPS], STEPS)
    worker.seats = 1
    async with serving(worker) as bench:
        running = asyncio.create_task(bench.box.ask())
        await until(lambda: bool(worker.calls))
        asking = asyncio.create_task(bench.ask())
        dispatcher = bench.box.pipeline.dispatcher
        await until(lambda: len(dispatcher.room) == 1)
        go.set()
        await until(lambda: len(dispatcher.room) == 0)
        await cancelled(bench, asking)
        await running
        assert len(worker.calls) == 1


async def test_one_whose_prompt_is_brought_from_a_slower_tier_reaches_no_engine() -> None:
    worker, brought = ScriptedWorker(0, STEPS), asyncio.Event()

    async def recall(_prompt: Any) -> Brought:
        await brought.wait()
        return Brought()

    async with serving(worker) as bench:
        bench.box.pipeline.recall = recall
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.box.pipeline.dispatcher.places) == 1)
        asyncio.get_running_loop().call_later(0.01, brought.set)
        await cancelled(bench, asking)
        assert not worker.calls


async def test_one_that_waits_for_a_worker_to_come_back_waits_no_longer() -> None:
    worker = ScriptedWorker(0)
    async with serving(worker) as bench:
        worker.starts.append(asyncio.Event())
        worker.end()
        await until(lambda: bench.box.fleet.ready() == 0)
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.box.pipeline.under_way) == 1)
        await asyncio.sleep(0)
        told = await cancelled(bench, asking)
        assert (told.request.phase, told.request.worker) == ("waiting", None)


async def test_one_that_is_not_under_way_is_told_whether_it_has_ended_or_what_was_meant() -> None:
    async with serving(ScriptedWorker(0, STEPS, [asyncio.Event()])) as bench:
        await bench.box.ask()
        with pytest.raises(NothingOfThisName, match="request 'r0' has ended") as ended:
            await bench.desk.cancel("r0", "ann", dry_run=False)
        assert ended.value.code == "request_ended"
        asking = asyncio.create_task(bench.ask())
        await until(lambda: len(bench.box.pipeline.under_way) == 1)
        with pytest.raises(NothingOfThisName) as unknown:
            await bench.desk.cancel("chatcmpl-2", "ann", dry_run=False)
        assert (unknown.value.code, unknown.value.hint) == ("no_request", "Did you mean chatcmpl-1?")
        await cancelled(bench, asking)
