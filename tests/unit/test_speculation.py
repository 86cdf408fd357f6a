from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from appliance.conversation import Conversation, Hints, Identity, Message, Role, Text
from appliance.errors import ContextTooLong
from appliance.router.events import Batch, BlockStored
from appliance.router.router import RoutingPolicy
from appliance.speculation import MOST_PENDING, Ended
from tests.unit.scripted_worker import (
    BLOCK_TOKENS,
    DIE,
    Play,
    ScriptedBox,
    ScriptedWorker,
    answer_of,
    conversation,
    steps_of,
    text_of,
    token_of,
    until,
)

HELLO = steps_of(["Hel", "lo"])
ONE: Sequence[Play] = steps_of(["x"])


def asked(text: str = "ask ", session: str | None = "s", **fields: Any) -> Conversation:
    return conversation(text, hints=Hints(speculative_prefill=True), identity=Identity(session), **fields)


def outcomes(box: ScriptedBox) -> dict[str, int]:
    return dict(box.accounts.speculations)


def store(box: ScriptedBox, text: str) -> None:
    """Worker 0 says that it has this text."""
    tokens = [token_of(character) for character in text][: len(text) // BLOCK_TOKENS * BLOCK_TOKENS]
    names = array("Q", range(100, 100 + len(tokens) // BLOCK_TOKENS))
    box.fleet.members[0].mirror.apply(Batch(0.0, (BlockStored(names, None, array("I", tokens), BLOCK_TOKENS),)))


async def test_after_an_answer_what_is_known_of_the_next_prompt_is_computed_with_the_lowest_priority() -> None:
    worker = ScriptedWorker(0, HELLO, ONE)
    async with ScriptedBox(worker) as box:
        await box.ask(asked())
        await until(lambda: outcomes(box) == {"done": 1})
    call = worker.calls[1]
    assert (text_of(call.token_ids), call.max_tokens, call.session_id) == ("ask Hello", 1, None)
    assert call.priority == 2**31 - 1
    assert box.accounts.outcomes.finished == 1


@pytest.mark.parametrize(
    "request_",
    [conversation(), asked(continue_final=True)],
    ids=["not asked for", "goes on with an answer"],
)
async def test_nothing_is_prepared_unasked_or_where_the_next_prompt_cannot_be_foreseen(request_: Conversation) -> None:
    worker = ScriptedWorker(0, HELLO)
    async with ScriptedBox(worker) as box:
        await box.ask(request_)
        assert (len(worker.calls), len(box.pipeline.speculation), outcomes(box)) == (1, 0, {})


async def test_what_is_in_the_cache_is_not_computed_again() -> None:
    worker = ScriptedWorker(0, HELLO)
    async with ScriptedBox(worker, policy=RoutingPolicy.KV) as box:
        store(box, "ask Hello")
        await box.ask(asked())
        await until(lambda: outcomes(box) == {"needless": 1})
    assert len(worker.calls) == 1


async def test_real_work_on_that_worker_ends_it_at_once() -> None:
    worker = ScriptedWorker(0, HELLO, [asyncio.Event()], HELLO)
    async with ScriptedBox(worker) as box:
        await box.ask(asked())
        await until(lambda: len(worker.calls) == 2)
        assert answer_of(await box.ask()) == "Hello"
        await until(lambda: outcomes(box) == {"cancelled": 1})
        assert worker.num_open == 0


async def test_real_work_elsewhere_does_not() -> None:
    worker, other, gate = ScriptedWorker(0, HELLO), ScriptedWorker(1, HELLO), asyncio.Event()
    async with ScriptedBox(worker, other, policy=RoutingPolicy.KV) as box:
        worker.scripts.append([gate, *ONE])
        other.scripts.append([gate, *ONE])
        await box.ask(asked())
        await until(lambda: len(worker.calls) + len(other.calls) == 2)
        first, second = (worker, other) if worker.calls else (other, worker)
        await box.ask(conversation(hints=Hints(worker=second.plan.id)))
        assert (first.num_open, outcomes(box)) == (1, {})
        gate.set()
        await until(lambda: outcomes(box) == {"done": 1})


async def test_it_waits_while_the_engine_reads_a_prompt() -> None:
    gate = asyncio.Event()
    worker = ScriptedWorker(0, HELLO, [gate, *HELLO], ONE)
    async with ScriptedBox(worker) as box:
        events = (await box.pipeline.prepare(asked(), "r")).events()
        busy: asyncio.Task[Any] | None = None
        async for _ in events:
            busy = busy or asyncio.create_task(box.ask())
            await until(lambda: len(worker.calls) == 2)
        await asyncio.sleep(0)
        assert (len(worker.calls), outcomes(box)) == (2, {})
        gate.set()
        await until(lambda: outcomes(box) == {"done": 1})
        assert busy is not None
        await busy


async def test_a_busy_worker_keeps_nothing_from_being_prepared_on_another() -> None:
    workers = ScriptedWorker(0, [asyncio.Event()]), ScriptedWorker(1, ONE)
    async with ScriptedBox(*workers, policy=RoutingPolicy.KV) as box:
        busy = asyncio.create_task(box.ask(conversation(hints=Hints(worker=0))))
        await until(lambda: len(workers[0].calls) == 1)
        answer = Message(Role.ASSISTANT, (Text("Hello"),))
        for worker in (0, 1):
            box.pipeline.speculation.after(Ended(asked(session=str(worker)), answer, worker))
        await until(lambda: outcomes(box) == {"done": 1})
        assert (len(workers[1].calls), len(box.pipeline.speculation)) == (1, 1)
        busy.cancel()
        await asyncio.wait([busy])
        box.pipeline.speculation.close()


async def test_the_next_turn_itself_makes_it_needless() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        speculation = box.pipeline.speculation
        answer = Message(Role.ASSISTANT, (Text("Hello"),))
        speculation.after(Ended(asked(), answer, 0))
        speculation.forget("s")
        assert (len(speculation), outcomes(box)) == (0, {"dropped": 1})
        await asyncio.sleep(0)
        assert worker.calls == []


async def test_of_many_the_oldest_give_way_and_a_session_waits_once() -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        speculation = box.pipeline.speculation
        answer = Message(Role.ASSISTANT, (Text("Hello"),))
        for number in range(MOST_PENDING + 3):
            speculation.after(Ended(asked(session=str(number)), answer, 0))
        assert (len(speculation), outcomes(box)) == (MOST_PENDING, {"dropped": 3})
        speculation.after(Ended(asked(session="9"), answer, 0))
        assert (len(speculation), outcomes(box)) == (MOST_PENDING, {"dropped": 4})
        speculation.close()
        assert (len(speculation), outcomes(box)) == (0, {"dropped": MOST_PENDING + 4})


async def test_a_prompt_that_does_not_fit_and_an_engine_that_ends_cost_nothing_else() -> None:
    worker = ScriptedWorker(0, HELLO, [DIE], HELLO)
    async with ScriptedBox(worker) as box:
        await box.ask(asked())
        await until(lambda: outcomes(box) == {"dropped": 1})
        await until(lambda: worker.alive)
        assert answer_of(await box.ask()) == "Hello"
        box.renderer.refusal = ContextTooLong("too long")
        box.pipeline.speculation.after(Ended(asked(), Message(Role.ASSISTANT, (Text("Hello"),)), 0))
        await until(lambda: outcomes(box) == {"dropped": 2})


async def test_a_box_that_takes_no_more_requests_prepares_none() -> None:
    worker = ScriptedWorker(0, HELLO, [asyncio.Event()])
    async with ScriptedBox(worker) as box:
        await box.ask(asked())
        await until(lambda: len(worker.calls) == 2)
        box.pipeline.refuse("The box is shutting down.")
        await until(lambda: worker.num_open == 0)
        box.pipeline.speculation.after(Ended(asked(), Message(Role.ASSISTANT, (Text("Hello"),)), 0))
        assert len(box.pipeline.speculation) == 0
