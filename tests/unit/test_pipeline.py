from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.box_events import RequestFinished, RequestStarted
from appliance.cache.prompt_read import Brought, TierTokens
from appliance.cache.session_state import SessionState
from appliance.cache.tier import Tier
from appliance.conversation import Hints, Identity, Message, Role, Sampling, Text, ToolResult
from appliance.errors import (
    BoxError,
    GenerationFailed,
    InvalidRequest,
    NotReady,
    RequestError,
    TooManyRequests,
    UnknownModel,
    WorkerDied,
)
from appliance.generation import Delta, Event, Finished, FinishReason, Started, Usage
from appliance.prepared_request import MAX_TIMES_SET_ASIDE
from appliance.router.events import Batch, BlockStored
from appliance.router.router import RoutingPolicy
from appliance.waiting_room import DEFAULT_LIMITS
from tests.examples import examples
from tests.unit.scripted_worker import (
    BLOCK_TOKENS,
    CARD,
    DIE,
    Play,
    ScriptedBox,
    ScriptedStep,
    ScriptedWorker,
    answer_of,
    conversation,
    refused_start,
    steps_of,
    text_of,
    token_of,
    until,
)

HELLO = steps_of(["Hel", "lo ", "you"], cached_tokens=4)


def tokens(*pieces: str) -> list[int]:
    return [token_of(piece) for piece in pieces]


def ends(box: ScriptedBox) -> tuple[int, int, int, int]:
    """Requests active, finished, failed, aborted."""
    outcomes = box.accounts.outcomes
    return outcomes.active, outcomes.finished, outcomes.failed, outcomes.aborted


def usage_of(event: Event) -> Usage:
    assert isinstance(event, Finished)
    assert event.timing is not None
    assert 0 <= event.timing.first_token_seconds <= event.timing.total_seconds
    return event.usage


def running(box: ScriptedBox) -> int:
    return sum(status.running for status in box.router.snapshot())


async def test_an_answer_is_one_start_then_deltas_then_one_end() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        events = await box.ask()
    assert events[:-1] == [
        Started(prompt_tokens=5, cached_tokens=4, worker=0),
        Delta(0, "Hel"),
        Delta(0, "lo "),
        Delta(0, "you", finish=FinishReason.STOP),
    ]
    assert usage_of(events[-1]) == Usage(prompt_tokens=5, cached_tokens=4, completion_tokens=3)
    assert ends(box) == (0, 1, 0, 0)
    assert box.accounts.since_start() == box.accounts.last_minute()
    assert (box.accounts.since_start().cached_tokens, box.accounts.completion_tokens) == (4, 3)


async def test_an_engine_gets_a_prompt_once_slower_tiers_have_been_asked_for_it() -> None:
    worker, answered = ScriptedWorker(0, HELLO), asyncio.Event()
    asked: list[list[int]] = []

    async def recall(prompt: Any) -> Brought:
        asked.append(prompt.token_ids)
        await answered.wait()
        return Brought()

    async with ScriptedBox(worker) as box:
        box.pipeline.recall = recall
        asking = asyncio.create_task(box.ask())
        while not asked:
            await asyncio.sleep(0)
        assert not worker.calls
        answered.set()
        await asking
    assert [call.token_ids for call in worker.calls] == asked


async def test_what_was_read_is_told_by_the_tier_that_had_it_when_the_request_came() -> None:
    brought, told = Brought(), asyncio.Event()
    worker = ScriptedWorker(0, [told, replace(HELLO[0], cached_tokens=10, loaded_tokens=8), HELLO[-1]])

    async def recall(prompt: Any) -> Brought:
        return brought

    async with ScriptedBox(worker) as box:
        box.pipeline.recall = recall
        asking = asyncio.create_task(box.ask(conversation("hello, world")))
        while not worker.calls:
            await asyncio.sleep(0)
        brought.add(bytes([Tier.DISK, Tier.DISK, Tier.HOST, Tier.REMOTE]))
        told.set()
        events = await asking
    below = TierTokens(host=4, disk=2, remote=2)
    assert isinstance(events[0], Started)
    assert events[0].below == usage_of(events[-1]).below == box.accounts.since_start().below == below


async def test_a_step_that_shows_nothing_starts_the_answer_and_makes_no_delta() -> None:
    async with ScriptedBox(ScriptedWorker(0, steps_of(["<a", ">", "b"]))) as box:
        events = await box.ask()
    assert [type(event) for event in events] == [Started, Delta, Delta, Finished]
    assert answer_of(events) == "<a>b"


async def test_each_choice_counts_its_tokens() -> None:
    steps = [ScriptedStep(tokens("a"), "a", "stop", choice=choice) for choice in (1, 0)]
    async with ScriptedBox(ScriptedWorker(0, steps)) as box:
        events = await box.ask(conversation(sampling=Sampling(n=2)))
    assert [event.choice for event in events if isinstance(event, Delta)] == [1, 0]
    assert usage_of(events[-1]) == Usage(5, 0, 2)


async def test_the_first_token_time_runs_from_arrival_to_the_first_step() -> None:
    now = [10.0]
    async with ScriptedBox(ScriptedWorker(0, HELLO), clock=lambda: now[0]) as box:
        prepared = await box.pipeline.prepare(conversation(), "r")
        now[0] = 13.0
        async for _ in prepared.events():
            now[0] += 1.0
    assert box.accounts.ttft_quantile(0.5) == 3.0


async def test_the_times_between_tokens_are_shared_by_those_that_came_together() -> None:
    now = [10.0]
    steps = [ScriptedStep(tokens(*pieces), "".join(pieces)) for pieces in (["a"], ["b"], ["c", "d"])]
    async with ScriptedBox(ScriptedWorker(0, steps), clock=lambda: now[0]) as box:
        prepared = await box.pipeline.prepare(conversation(), "r")
        async for event in prepared.events():
            now[0] += 1.0 if isinstance(event, Delta) else 0.0
    gaps = box.accounts.token_gaps
    assert gaps.quantile(0.1) == pytest.approx(0.5, rel=0.03)
    assert gaps.quantile(1.0) == pytest.approx(1.0, rel=0.03)


async def test_choices_of_one_request_tell_nothing_of_the_time_between_tokens() -> None:
    steps = [ScriptedStep(tokens("a"), "a", choice=choice) for choice in (0, 1, 0, 1)]
    async with ScriptedBox(ScriptedWorker(0, steps)) as box:
        await box.ask(conversation(sampling=Sampling(n=2)))
    assert box.accounts.token_gaps.quantile(0.5) is None


async def test_the_engine_serves_the_lowest_number_first_so_priority_changes_its_sign() -> None:
    worker = ScriptedWorker(0, HELLO)
    async with ScriptedBox(worker) as box:
        await box.ask(conversation(hints=Hints(priority=3), identity=Identity(session_id="s")))
    assert (worker.calls[0].priority, worker.calls[0].session_id) == (-3, "s")


@pytest.mark.parametrize(
    ("session_id", "prefix_id", "name"), [("s", "p", "s"), (None, "p", "p"), ("s", None, "s"), (None, None, None)]
)
async def test_a_prefix_id_keeps_requests_together_where_no_session_is_named(
    session_id: str | None, prefix_id: str | None, name: str | None
) -> None:
    worker = ScriptedWorker(0, HELLO)
    asked = conversation(hints=Hints(prefix_id=prefix_id), identity=Identity(session_id=session_id))
    async with ScriptedBox(worker) as box:
        assert (await box.pipeline.prepare(asked, "r")).decide().session_id == name
        await box.ask(asked)
    assert worker.calls[0].session_id == session_id


async def test_a_request_weighs_on_its_worker_until_it_ends_and_in_prefill_until_its_first_token() -> None:
    gates = asyncio.Event(), asyncio.Event()
    async with ScriptedBox(ScriptedWorker(0, [gates[0], HELLO[0], gates[1], *HELLO[1:]])) as box:
        asking = asyncio.create_task(box.ask())
        await until(lambda: running(box) == 1)
        assert box.router.snapshot()[0].prefill_blocks == 3
        gates[0].set()
        await until(lambda: box.router.snapshot()[0].prefill_blocks == 0)
        assert running(box) == 1
        gates[1].set()
        await asking
        assert running(box) == 0


async def test_closing_the_answer_aborts_it_in_the_engine_and_counts_once() -> None:
    worker = ScriptedWorker(0, [*HELLO[:2], asyncio.Event()])
    async with ScriptedBox(worker) as box:
        events = (await box.pipeline.prepare(conversation(), "r")).events()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Delta):
                    break
            assert (worker.num_open, running(box)) == (1, 1)
        await events.aclose()
        assert (worker.num_open, running(box)) == (0, 0)
        assert ends(box) == (0, 0, 0, 1)
        assert box.accounts.completion_tokens == 1


async def test_cancelling_a_request_that_waits_for_its_first_token_aborts_it() -> None:
    worker = ScriptedWorker(0, [asyncio.Event()])
    async with ScriptedBox(worker) as box:
        asking = asyncio.create_task(box.ask())
        await until(lambda: worker.num_open == 1)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert (worker.num_open, running(box)) == (0, 0)
        assert ends(box) == (0, 0, 0, 1)


async def test_closing_after_the_end_aborts_nothing() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        events = (await box.pipeline.prepare(conversation(), "r")).events()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    break
        assert ends(box) == (0, 1, 0, 0)


async def test_a_death_before_the_first_token_starts_the_request_anew_on_another_worker() -> None:
    first, second = ScriptedWorker(0, [DIE]), ScriptedWorker(1, HELLO)
    async with ScriptedBox(first, second) as box:
        events = await box.ask()
        assert first.calls[0].token_ids == second.calls[0].token_ids
        assert first.calls[0].max_tokens == second.calls[0].max_tokens
        assert first.calls[0].request_id != second.calls[0].request_id
        assert events[0] == Started(5, 4, worker=1)
        assert answer_of(events) == "Hello you"
        assert (ends(box), box.accounts.outcomes.resumed) == ((0, 1, 0, 0), 1)


async def test_a_death_in_the_middle_goes_on_elsewhere_with_the_tokens_made_so_far() -> None:
    first, second = ScriptedWorker(0, [*HELLO[:2], DIE]), ScriptedWorker(1, steps_of(["you"], cached_tokens=2))
    async with ScriptedBox(first, second) as box:
        events = await box.ask(conversation(sampling=Sampling(max_tokens=10)))
        assert second.calls[0].token_ids == [*first.calls[0].token_ids, *tokens("Hel", "lo ")]
        assert (first.calls[0].max_tokens, second.calls[0].max_tokens) == (10, 8)
        assert [type(event) for event in events] == [Started, Delta, Delta, Delta, Finished]
        assert usage_of(events[-1]) == Usage(prompt_tokens=5, cached_tokens=4, completion_tokens=3)
        assert box.accounts.since_start().prompt_tokens == 5
        assert (ends(box), box.accounts.outcomes.resumed) == ((0, 1, 0, 0), 1)


pieces = st.lists(st.text("ab<>", min_size=1, max_size=3), min_size=1, max_size=12)


@settings(max_examples=examples(60))
@given(pieces, st.integers(0, 11), st.integers(0, 5))
def test_the_text_shown_is_that_of_an_uninterrupted_answer(answer: list[str], died_after: int, hold_chars: int) -> None:
    made = died_after % len(answer)
    rest = steps_of(answer[made:], hold_chars=hold_chars)
    first = ScriptedWorker(0, [*steps_of(answer, hold_chars=hold_chars)[:made], DIE])

    async def ask() -> list[Event]:
        async with ScriptedBox(first, ScriptedWorker(1, rest)) as box:
            return await box.ask()

    events = asyncio.run(ask())
    assert answer_of(events) == "".join(answer)
    assert usage_of(events[-1]) == Usage(5, 0, len(answer))


@settings(max_examples=examples(50))
@given(pieces, st.integers(0, 5))
def test_a_death_after_the_last_token_allowed_shows_what_was_held_back_and_ends_for_length(
    answer: list[str], hold_chars: int
) -> None:
    first = ScriptedWorker(0, [*steps_of([*answer, "abc", "abc"], hold_chars=hold_chars)[: len(answer)], DIE])
    second = ScriptedWorker(1)

    async def ask() -> list[Event]:
        async with ScriptedBox(first, second) as box:
            events = await box.ask(conversation(sampling=Sampling(max_tokens=len(answer))))
            assert (ends(box), box.accounts.outcomes.resumed) == ((0, 1, 0, 0), 0)
            return events

    *shown, last, end = asyncio.run(ask())
    assert answer_of([*shown, last]) == "".join(answer)
    assert isinstance(last, Delta)
    assert last.finish is FinishReason.LENGTH
    assert usage_of(end) == Usage(5, 0, len(answer))
    assert second.calls == []


async def test_a_worker_alone_goes_on_with_the_request_once_it_runs_again() -> None:
    worker = ScriptedWorker(0, [*HELLO[:2], DIE], steps_of(["you"]))
    async with ScriptedBox(worker) as box:
        async with asyncio.timeout(5):
            events = await box.ask()
        assert (answer_of(events), worker.num_starts) == ("Hello you", 2)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
async def test_a_request_that_saw_two_deaths_gets_no_third_engine(num_workers: int) -> None:
    scripts: list[list[Play]] = [[DIE], [HELLO[0], DIE]]
    workers = [
        ScriptedWorker(number, *(scripts if num_workers == 1 else scripts[number:][:1]))
        for number in range(num_workers)
    ]
    async with ScriptedBox(*workers) as box:
        with pytest.raises(GenerationFailed, match="Two engines"):
            await box.ask()
        assert sum(len(worker.calls) for worker in workers) == 2
        assert (ends(box), box.accounts.outcomes.resumed) == ((0, 0, 1, 0), 1)
        assert running(box) == 0


async def test_a_worker_that_died_unnoticed_is_asked_no_more() -> None:
    first, second = ScriptedWorker(0), ScriptedWorker(1, HELLO)
    async with ScriptedBox(first, second) as box:
        first.end()
        assert answer_of(await box.ask()) == "Hello you"
        assert (first.calls, box.accounts.outcomes.resumed) == ([], 0)


async def test_a_request_avoids_the_worker_that_died_on_it_even_once_that_runs_again() -> None:
    late_news = WorkerDied("worker 0 ended")
    first, second = ScriptedWorker(0, [late_news]), ScriptedWorker(1, HELLO)
    async with ScriptedBox(first, second, policy=RoutingPolicy.KV) as box:
        stored = BlockStored(array("Q", [1]), None, array("I", tokens("h", "e")), BLOCK_TOKENS)
        box.fleet.members[0].mirror.apply(Batch(0.0, (stored,)))
        assert answer_of(await box.ask()) == "Hello you"
        assert (first.alive, len(first.calls), len(second.calls)) == (True, 1, 1)


@pytest.mark.parametrize("several", [True, False])
async def test_an_answer_of_several_choices_or_with_a_grammar_cannot_be_resumed(several: bool) -> None:
    second = ScriptedWorker(1)
    async with ScriptedBox(ScriptedWorker(0, [HELLO[0], DIE]), second) as box:
        box.renderer.grammar = not several
        with pytest.raises(GenerationFailed, match="cannot be resumed"):
            await box.ask(conversation(sampling=Sampling(n=2 if several else 1)))
        assert second.calls == []
        assert (ends(box), box.accounts.outcomes.resumed) == ((0, 0, 1, 0), 0)


async def test_a_request_that_cannot_be_resumed_still_starts_anew_before_its_first_token() -> None:
    async with ScriptedBox(ScriptedWorker(0, [DIE]), ScriptedWorker(1, HELLO)) as box:
        box.renderer.grammar = True
        assert answer_of(await box.ask()) == "Hello you"


async def test_without_a_live_worker_a_request_waits_for_one() -> None:
    worker, gate = ScriptedWorker(0, HELLO), asyncio.Event()
    async with ScriptedBox(worker) as box:
        worker.starts.append(gate)
        worker.end()
        asking = asyncio.create_task(box.ask())
        await until(lambda: worker.num_starts == 2)
        assert worker.calls == []
        gate.set()
        assert answer_of(await asking) == "Hello you"


async def test_a_request_is_told_when_no_worker_will_come_back() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, restart_limit=0) as box:
        worker.end()
        with pytest.raises(NotReady, match="No worker is alive"):
            await box.ask()
        assert ends(box) == (0, 0, 1, 0)


async def test_a_worker_that_never_comes_up_again_is_waited_for_until_its_restarts_are_used_up() -> None:
    worker = ScriptedWorker(0, [DIE])
    async with ScriptedBox(worker, restart_limit=2) as box:
        worker.starts.extend([refused_start(), refused_start()])
        with pytest.raises(NotReady):
            await box.ask()
        assert worker.num_starts == 3


async def test_after_a_refusal_new_requests_are_told_why_and_running_ones_go_on() -> None:
    gate = asyncio.Event()
    async with ScriptedBox(ScriptedWorker(0, [gate, *HELLO])) as box:
        asking = asyncio.create_task(box.ask())
        await until(lambda: running(box) == 1)
        box.pipeline.refuse("The box is shutting down.")
        with pytest.raises(NotReady, match="shutting down"):
            await box.pipeline.prepare(conversation(), "late")
        gate.set()
        assert answer_of(await asking) == "Hello you"


async def test_idle_returns_exactly_when_nothing_runs() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    async with ScriptedBox(*(ScriptedWorker(number, [gate, *HELLO]) for number, gate in enumerate(gates))) as box:
        await box.pipeline.idle()
        asks = [asyncio.create_task(box.ask()) for _ in gates]
        await until(lambda: running(box) == 2)
        idle = asyncio.create_task(box.pipeline.idle())
        for gate, ask in zip(gates, asks, strict=True):
            assert not idle.done()
            gate.set()
            await ask
        await idle
        assert box.accounts.outcomes.active == 0


@pytest.mark.parametrize(("name", "hint"), [("org/smal", "did you mean 'org/small'?"), ("zzz", "serves 'org/small'.")])
async def test_an_unknown_model_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        with pytest.raises(UnknownModel) as caught:
            await box.pipeline.count_tokens(conversation(model=name))
    assert caught.value.message.endswith(hint)
    assert repr(name) in caught.value.message
    assert caught.value.param == "model"


async def test_preparing_and_counting_send_nothing_to_a_worker() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker) as box:
        prepared = await box.pipeline.prepare(conversation("four"), "r")
        assert prepared.prompt_tokens == await box.pipeline.count_tokens(conversation("four")) == 4
        assert box.pipeline.models() == (CARD,)
        assert (worker.calls, ends(box)) == ([], (0, 0, 0, 0))


async def test_what_the_engine_refuses_reaches_the_client_as_it_is() -> None:
    refusal = InvalidRequest("logit_bias: no such token", param="logit_bias")
    async with ScriptedBox(ScriptedWorker(0, [refusal])) as box:
        with pytest.raises(InvalidRequest) as caught:
            await box.ask()
    assert caught.value is refusal
    assert caught.value.__cause__ is None
    assert ends(box) == (0, 0, 1, 0)


async def test_an_error_that_is_no_clients_business_becomes_a_failed_generation() -> None:
    async with ScriptedBox(ScriptedWorker(0, [BoxError("the disk is full")])) as box:
        with pytest.raises(GenerationFailed, match="the disk is full"):
            await box.ask()
    assert ends(box) == (0, 0, 1, 0)


async def test_a_bug_in_a_parser_ends_the_request_in_order() -> None:
    worker = ScriptedWorker(0, HELLO)
    async with ScriptedBox(worker, parser_fault=ValueError("no such marker")) as box:
        with pytest.raises(ValueError, match="no such marker"):
            await box.ask()
        assert (worker.num_open, running(box)) == (0, 0)
    assert ends(box) == (0, 0, 1, 0)


ending = st.sampled_from(["finish", "fail", "abort", "die"])


@settings(max_examples=examples(50))
@given(st.lists(ending, max_size=8))
def test_the_outcomes_add_up_to_the_requests(endings: list[str]) -> None:
    scripts: dict[str, list[Play]] = {
        "finish": [*HELLO],
        "fail": [HELLO[0], BoxError("failed")],
        "abort": [HELLO[0], asyncio.Event()],
        "die": [HELLO[0], DIE],
    }

    async def ask(box: ScriptedBox, how: str) -> None:
        asking = asyncio.create_task(box.ask())
        if how == "abort":
            await until(lambda: running(box) == 1)
            asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled() or asking.exception() is None or isinstance(asking.exception(), RequestError)

    async def ask_all() -> ScriptedBox:
        plays: list[list[Play]] = []
        for how in endings:
            plays += [scripts[how], [*HELLO]] if how == "die" else [scripts[how]]
        async with ScriptedBox(ScriptedWorker(0, *plays), restart_limit=99) as box:
            for how in endings:
                await ask(box, how)
        return box

    box = asyncio.run(ask_all())
    finished = endings.count("finish") + endings.count("die")
    assert ends(box) == (0, finished, endings.count("fail"), endings.count("abort"))
    assert box.accounts.outcomes.resumed == endings.count("die")


async def test_a_request_is_stabilised_before_it_is_rendered_and_that_is_counted() -> None:
    header = "x-anthropic-billing-header: cc_version=2.1.3; cc_entrypoint=cli; cch=1a2b3;"
    system = Message(Role.SYSTEM, (Text(header), Text("hello")))
    plain = replace(conversation(), messages=(replace(system, blocks=system.blocks[1:]),))
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        expected = await box.pipeline.prepare(plain, "1")
        stabilised = await box.pipeline.prepare(replace(plain, messages=(system,)), "2")
        assert stabilised.prompt_tokens == expected.prompt_tokens
        assert box.accounts.stabilised == {"attribution": 1}


async def test_an_engine_is_told_what_a_request_is_worth_and_what_it_is_worth_when_it_ended() -> None:
    asked = conversation(identity=Identity("lead"), hints=Hints(session_final=True))
    async with ScriptedBox(worker := ScriptedWorker(0, HELLO)) as box:
        await box.ask(asked)
        await until(lambda: bool(worker.replans))
    (call,) = worker.calls
    assert call.retention is not None
    assert call.retention["scope"] == "lead"
    ((session_id, payload),) = worker.replans
    assert (session_id, payload["scope"]) == ("lead", "lead")
    assert payload["directives"][0]["priority"] < call.retention["directives"][0]["priority"]


async def test_a_request_of_nobody_is_planned_once() -> None:
    async with ScriptedBox(worker := ScriptedWorker(0, HELLO)) as box:
        await box.ask()
        assert worker.calls[0].retention is not None
        assert worker.replans == []


async def test_a_session_that_its_client_left_is_no_longer_running() -> None:
    asked = conversation(identity=Identity("lead"))
    async with ScriptedBox(ScriptedWorker(0, [*HELLO[:1], asyncio.Event()])) as box:
        prepared = await box.pipeline.prepare(asked, "r")
        async with aclosing(prepared.events()) as events:
            await anext(events)
        assert box.pipeline.retention is not None
        session = box.pipeline.retention.session("lead")
        assert session is not None
        assert session.state is SessionState.IDLE


def one_at_a_time(worker_id: int = 0, *scripts: Sequence[Play]) -> ScriptedWorker:
    worker = ScriptedWorker(worker_id, *scripts)
    worker.seats = 1
    return worker


AT_ONCE = replace(DEFAULT_LIMITS, make_room_after_seconds=0.0)


async def test_while_the_worker_is_full_requests_wait_in_the_box_and_the_important_one_overtakes() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    plays: list[Sequence[Play]] = [[gate, *HELLO] for gate in gates]
    worker = one_at_a_time(0, *plays)
    async with ScriptedBox(worker) as box:
        asks = [asyncio.create_task(box.ask(conversation("first!")))]
        await until(lambda: len(worker.calls) == 1)
        for text, priority in (("second", 0), ("third!", 5)):
            asks.append(asyncio.create_task(box.ask(conversation(text, hints=Hints(priority=priority)))))
        await until(lambda: len(box.pipeline.dispatcher.queue) == 2)
        for gate in gates:
            gate.set()
        await asyncio.gather(*asks)
    assert ["".join(text_of([token]) for token in call.token_ids) for call in worker.calls] == [
        "first!",
        "third!",
        "second",
    ]


async def test_a_client_that_leaves_the_queue_was_never_in_the_engine() -> None:
    gate = asyncio.Event()
    worker = one_at_a_time(0, [gate, *HELLO])
    async with ScriptedBox(worker) as box:
        first = asyncio.create_task(box.ask())
        await until(lambda: len(worker.calls) == 1)
        gone = asyncio.create_task(box.ask())
        await until(lambda: len(box.pipeline.dispatcher.queue) == 1)
        gone.cancel()
        await asyncio.wait([gone])
        gate.set()
        assert answer_of(await first) == "Hello you"
        assert (len(worker.calls), len(box.pipeline.dispatcher.queue), ends(box)) == (1, 0, (0, 1, 0, 1))


async def test_when_the_box_ends_those_who_wait_for_a_worker_are_told() -> None:
    worker = one_at_a_time(0, [asyncio.Event()])
    async with ScriptedBox(worker) as box:
        running_one = asyncio.create_task(box.ask())
        await until(lambda: len(worker.calls) == 1)
        waiting = asyncio.create_task(box.ask())
        await until(lambda: len(box.pipeline.dispatcher.queue) == 1)
        box.pipeline.close("The box is shutting down.")
        with pytest.raises(NotReady, match="shutting down"):
            await waiting
        assert not running_one.done()
        running_one.cancel()
        await asyncio.wait([running_one])


async def test_a_full_queue_refuses_before_anything_is_rendered() -> None:
    worker = one_at_a_time(0, [asyncio.Event()])
    async with ScriptedBox(worker, limits=replace(DEFAULT_LIMITS, depth=1)) as box:
        asks = [asyncio.create_task(box.ask()) for _ in range(2)]
        await until(lambda: len(box.pipeline.dispatcher.queue) == 1)
        with pytest.raises(TooManyRequests):
            await box.pipeline.prepare(conversation(), "late")
        await box.pipeline.prepare(conversation(hints=Hints(priority=1)), "important")
        for ask in asks:
            ask.cancel()
        await asyncio.wait(asks)


async def test_an_engine_is_told_to_keep_the_blocks_of_whoever_waits_for_it() -> None:
    gate = asyncio.Event()
    worker = one_at_a_time(0, [gate, *HELLO], [*HELLO])
    async with ScriptedBox(worker) as box:
        stored = BlockStored(array("Q", [7]), None, array("I", tokens("h", "e")), BLOCK_TOKENS)
        box.fleet.members[0].mirror.apply(Batch(0.0, (stored,)))
        asks = [asyncio.create_task(box.ask())]
        await until(lambda: len(worker.calls) == 1)
        asks.append(asyncio.create_task(box.ask()))
        await until(lambda: bool(worker.awaited))
        assert list(worker.awaited.values()) == [[7]]
        gate.set()
        await asyncio.gather(*asks)
        await until(lambda: not worker.awaited)


@settings(max_examples=examples(60))
@given(pieces, st.integers(0, 11), st.integers(0, 5))
def test_a_request_that_was_set_aside_shows_the_text_of_an_undisturbed_one(
    answer: list[str], made_before: int, hold_chars: int
) -> None:
    made = made_before % len(answer)
    undisturbed = steps_of(answer, hold_chars=hold_chars)
    worker = one_at_a_time(
        0, [*undisturbed[:made], asyncio.Event()], [*HELLO], [*steps_of(answer[made:], hold_chars=hold_chars)]
    )

    async def ask() -> list[Event]:
        async with ScriptedBox(worker, limits=AT_ONCE) as box:
            low = asyncio.create_task(box.ask(conversation(hints=Hints(priority=-1))))
            await until(lambda: worker.num_open == 1)
            await asyncio.sleep(0)
            high = await box.ask(conversation())
            assert answer_of(high) == "Hello you"
            events = await low
            queue = box.accounts.queue
            assert (queue.set_aside, box.accounts.outcomes.resumed, ends(box)) == (1, 0, (0, 2, 0, 0))
            return events

    events = asyncio.run(ask())
    assert answer_of(events) == "".join(answer)
    assert usage_of(events[-1]) == Usage(5, 0, len(answer))
    assert [type(event) for event in events].count(Started) == 1


async def test_a_request_is_set_aside_a_few_times_only() -> None:
    count = MAX_TIMES_SET_ASIDE
    last = asyncio.Event()
    plays: list[Sequence[Play]] = []
    for _ in range(count):
        plays += [[asyncio.Event()], HELLO]
    plays += [[last, *HELLO], HELLO]
    worker = one_at_a_time(0, *plays)
    async with ScriptedBox(worker, limits=AT_ONCE) as box:
        low = asyncio.create_task(box.ask(conversation(hints=Hints(priority=-1))))
        for number in range(count):
            await until(lambda: len(worker.calls) == 2 * number + 1)  # noqa: B023 - called before the next round
            await box.ask()
        await until(lambda: len(worker.calls) == 2 * count + 1)
        high = asyncio.create_task(box.ask())
        await until(lambda: len(box.pipeline.dispatcher.queue) == 1)
        box.pipeline.dispatcher.wake()
        assert not high.done()
        last.set()
        assert answer_of(await low) == answer_of(await high) == "Hello you"
        assert box.accounts.queue.set_aside == count


async def test_an_answer_that_cannot_be_resumed_is_not_set_aside() -> None:
    gate = asyncio.Event()
    worker = one_at_a_time(0, [HELLO[0], gate, *HELLO[1:]], [*HELLO])
    async with ScriptedBox(worker, limits=AT_ONCE) as box:
        box.renderer.grammar = True
        low = asyncio.create_task(box.ask(conversation(hints=Hints(priority=-1))))
        await until(lambda: worker.num_open == 1)
        high = asyncio.create_task(box.ask())
        await until(lambda: len(box.pipeline.dispatcher.queue) == 1)
        gate.set()
        await asyncio.gather(low, high)
        assert box.accounts.queue.set_aside == 0


@pytest.mark.parametrize(
    ("hints", "priority"),
    [
        (Hints(), 0),
        (Hints(priority=-7), 7),
        (Hints(strict_priority=1, priority=-(2**31) + 1), -(2**32) + 2**31 - 1),
        (Hints(strict_priority=2**32 - 1, priority=2**31 - 1), -(2**62) - 2**31 + 1),
    ],
)
async def test_the_engine_serves_a_tier_before_every_priority_of_lower_ones(hints: Hints, priority: int) -> None:
    async with ScriptedBox(worker := ScriptedWorker(0, HELLO)) as box:
        await box.ask(conversation(hints=hints))
    assert worker.calls[0].priority == priority
    assert priority >= -(2**63)


@pytest.mark.parametrize(
    ("roles", "is_in_turn"),
    [
        ("user", False),
        ("user assistant tool", True),
        ("user assistant tool user", True),
        ("tool assistant user", False),
    ],
)
async def test_whoever_brings_the_results_of_tools_is_amid_its_turn(roles: str, is_in_turn: bool) -> None:
    blocks = {Role.TOOL: ToolResult("c", (Text("42"),))}
    messages = tuple(Message(Role(role), (blocks.get(Role(role), Text("x")),)) for role in roles.split())
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        prepared = await box.pipeline.prepare(replace(conversation(), messages=messages), "r")
        assert prepared._errand(prepared._prompt, frozenset()).is_in_turn is is_in_turn


async def test_a_pin_is_followed_and_one_to_a_worker_that_is_not_there_is_ignored_and_told() -> None:
    workers = ScriptedWorker(0, *[HELLO] * 4), ScriptedWorker(1, *[HELLO] * 4)

    async def started(box: ScriptedBox, pin: int) -> Started:
        first = (await box.ask(conversation(hints=Hints(worker=pin))))[0]
        assert isinstance(first, Started)
        return first

    async with ScriptedBox(*workers, policy=RoutingPolicy.KV, restart_limit=0) as box:
        for pin in (1, 0, 1):
            assert await started(box, pin) == Started(5, 4, worker=pin)
        (entry,) = (await started(box, 7)).ignored
        assert (entry.field, "there is no worker 7 among [0, 1]" in entry.reason) == ("nvext.backend_instance_id", True)
        workers[1].end()
        first = await started(box, 1)
        assert (first.worker, "worker 1 is not alive" in first.ignored[0].reason) == (0, True)


async def test_a_pin_to_a_worker_that_is_not_there_fails_no_request_however_large_its_number() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        assert answer_of(await box.ask(conversation(hints=Hints(worker=2**63 - 1)))) == "Hello you"


async def test_the_start_and_the_end_of_a_request_are_told() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        await box.ask(conversation(identity=Identity("s")))
        started, finished = (each.event for each in box.pipeline.events.after(0).events)
    assert started == RequestStarted("r0", "s", 0, prompt_tokens=5, cached_tokens=4)
    assert isinstance(finished, RequestFinished)
    assert (finished.request, finished.outcome, finished.completion_tokens) == ("r0", "finished", 3)


async def test_of_a_request_that_no_engine_read_it_is_not_known_what_was_cached() -> None:
    async with ScriptedBox(ScriptedWorker(0, [BoxError("broken")])) as box:
        with pytest.raises(GenerationFailed):
            await box.ask()
        (failed,) = (each.event for each in box.pipeline.events.after(0).events)
    assert isinstance(failed, RequestFinished)
    assert (failed.outcome, failed.cached_tokens, failed.first_token_seconds) == ("failed", None, None)
