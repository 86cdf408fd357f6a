from __future__ import annotations

import pytest

from appliance.conversation import Hints, Identity
from appliance.errors import NotReady
from appliance.router.reservations import MOST_RESERVATIONS
from appliance.router.router import RoutingPolicy
from appliance.routing_desk import RoutingDesk
from tests.unit.scripted_worker import BLOCK_TOKENS, DIE, ScriptedBox, ScriptedWorker, conversation, steps_of

HELLO = steps_of(["Hel", "lo"], cached_tokens=4)


def desk_of(box: ScriptedBox) -> RoutingDesk:
    names = iter(f"p{number}" for number in range(1, 1000))
    return RoutingDesk(box.pipeline, lambda: next(names))


async def test_a_conversation_and_its_tokens_are_placed_alike_and_nothing_is_sent() -> None:
    worker = ScriptedWorker(0)
    async with ScriptedBox(worker, ScriptedWorker(1), policy=RoutingPolicy.KV) as box:
        desk = desk_of(box)
        by_words = await desk.place(conversation("hello"), None)
        by_tokens = await desk.place([ord(character) for character in "hello"], None)
        assert by_words.prompt_tokens == by_tokens.prompt_tokens == 5
        assert by_words.candidates == by_tokens.candidates
        assert [candidate.worker for candidate in by_words.candidates] == [0, 1]
        assert by_words.candidates[0].missing_tokens == 6
        assert by_words.reservation is None
        assert (worker.calls, desk.newest(5).decisions) == ([], [])


async def test_the_total_of_a_cost_is_the_sum_of_its_parts() -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        cost = (await desk_of(box).place([1, 2, 3], None)).candidates[0].cost
    parts = (cost.prefill, cost.load, cost.queue, cost.decode, cost.crowding, cost.displacement, cost.other)
    assert cost.total == pytest.approx(sum(parts) - cost.affinity)


async def test_a_place_is_reserved_shown_as_load_and_freed() -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        desk = desk_of(box)
        reserved = (await desk.place([1, 2, 3], 5.0)).reservation
        assert reserved is not None
        assert (reserved.id, reserved.expires_in_seconds) == ("p1", 5.0)
        assert (await desk.place([1, 2, 3], None)).candidates[0].running_requests == 1
        assert (desk.free("p1"), desk.free("p1")) == (True, False)
        assert (await desk.place([1, 2, 3], None)).candidates[0].running_requests == 0


async def test_without_a_worker_or_a_free_place_the_box_is_not_ready() -> None:
    async with ScriptedBox(ScriptedWorker(0)) as box:
        desk = desk_of(box)
        for _ in range(MOST_RESERVATIONS):
            await desk.place([1], 5.0)
        with pytest.raises(NotReady, match="reserved already"):
            await desk.place([1], 5.0)
        for number in range(MOST_RESERVATIONS):
            assert desk.free(f"p{number + 1}")
        box.workers[0].end()
        for asked in ([1], conversation()):
            with pytest.raises(NotReady, match="no worker to route to"):
                await desk.place(asked, None)


async def test_a_request_is_found_by_its_id_with_its_outcome() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO)) as box:
        await box.ask(conversation("hello", identity=Identity("s"), hints=Hints(output_tokens=7)))
        desk = desk_of(box)
        (decision,) = desk.of_request("r0")
        assert (decision.worker, decision.reason, decision.why) == (0, "only", "the only candidate")
        assert decision.outcome is not None
        assert (decision.outcome.cached_tokens, decision.outcome.regret_seconds) == (4, 0.0)
        assert [newest.request_id for newest in desk.newest(5).decisions] == ["r0"]
        assert (desk.newest(5).totals.decisions, desk.newest(5).totals.settled) == (1, 1)
        assert desk.of_request("nobody") == []


async def test_what_a_request_says_of_itself_reaches_the_router() -> None:
    async with ScriptedBox(ScriptedWorker(0, HELLO), ScriptedWorker(1, HELLO), policy=RoutingPolicy.KV) as box:
        said = conversation("hello", identity=Identity("s"), hints=Hints(output_tokens=40))
        await box.ask(said)
        served = box.router.history.newest(1)[0].worker
        decision = (await box.pipeline.prepare(said, "next")).decide()
    assert [one.prospect.is_last_worker for one in decision.candidates] == [served == 0, served == 1]
    assert {one.prospect.answer_blocks for one in decision.candidates} == {40 // BLOCK_TOKENS}


async def test_a_request_that_went_on_elsewhere_has_a_decision_for_each_worker() -> None:
    first, second = ScriptedWorker(0, [HELLO[0], DIE]), ScriptedWorker(1, steps_of(["lo"], cached_tokens=6))
    async with ScriptedBox(first, second) as box:
        await box.ask()
        decisions = desk_of(box).of_request("r0")
    assert [decision.worker for decision in decisions] == [0, 1]
    assert [decision.outcome is not None for decision in decisions] == [True, True]
