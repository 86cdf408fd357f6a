"""Subagents at once, in a pool that has no room for all of them beside their lead."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from vllm.v1.request import Request

from appliance.cache.plan_wire import Lead
from tests.examples import examples
from tests.unit.engine.retention.pools import BLOCK_TOKENS, Clock, Served, new_plan, new_request, served

PROMPT = range(8 * BLOCK_TOKENS)
PATIENCE = 2.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Served:
    """Sixteen blocks and the null block. Half of them are a lead's."""
    cache = served(17, clock=clock)
    cache.serve(new_request(PROMPT, plan=new_plan((32, 35)), session="lead"))
    return cache


def subagent(number: int, tokens: int = 4 * BLOCK_TOKENS, lead: str = "lead", head: range = range(0)) -> Request:
    prompt = [*head, *range(1000 * number, 1000 * number + tokens)]
    plan = new_plan((len(prompt), 20))
    return new_request(prompt, plan=plan, session=f"sub-{number}", lead=Lead(lead, PATIENCE))


def test_subagents_run_beside_their_lead_as_far_as_there_is_room(cache: Served) -> None:
    assert [cache.admit(subagent(number)) for number in (1, 2, 3)] == [0, 0, None]
    assert cache.found(PROMPT) == len(PROMPT)


def test_one_that_was_held_back_is_admitted_when_another_has_ended(cache: Served) -> None:
    first, second, third = map(subagent, (1, 2, 3))
    cache.admit(first), cache.admit(second), cache.admit(third)
    cache.manager.free(first)
    assert cache.admit(third) == 0
    assert cache.found(PROMPT) == len(PROMPT)
    assert cache.retention.stats()["held_back"] == 1


def test_it_waits_as_long_as_computing_its_lead_again_would_take_and_not_longer(cache: Served, clock: Clock) -> None:
    first, second, third = map(subagent, (1, 2, 3))
    cache.admit(first), cache.admit(second), cache.admit(third)
    clock.now_ms += 1999
    cache.manager.new_step_starts()
    assert cache.admit(third) is None
    clock.now_ms += 1
    cache.manager.new_step_starts()
    assert cache.admit(third) == 0
    assert cache.found(PROMPT) < len(PROMPT)
    assert cache.retention.stats()["held_back_in_vain"] == 1


def test_the_next_in_turn_has_a_patience_of_its_own(cache: Served, clock: Clock) -> None:
    first, second, third, fourth = map(subagent, (1, 2, 3, 4))
    cache.admit(first), cache.admit(second), cache.admit(third)
    clock.now_ms += 2000
    cache.manager.new_step_starts()
    assert cache.admit(third) == 0
    assert cache.admit(fourth) is None


def test_one_that_gives_up_leaves_the_next_in_turn_a_patience_of_its_own(cache: Served, clock: Clock) -> None:
    first, second, third, fourth = map(subagent, (1, 2, 3, 4))
    cache.admit(first), cache.admit(second), cache.admit(third)
    clock.now_ms += 1500
    cache.manager.new_step_starts()
    cache.manager.free(third)
    assert cache.admit(fourth) is None
    clock.now_ms += 1999
    cache.manager.new_step_starts()
    assert cache.admit(fourth) is None


def test_one_that_is_alone_never_waits(cache: Served) -> None:
    assert cache.admit(subagent(1, tokens=14 * BLOCK_TOKENS)) == 0


def test_a_request_that_is_no_subagent_of_the_lead_never_waits(cache: Served) -> None:
    cache.admit(subagent(1))
    assert cache.admit(subagent(2, lead="another")) == 0
    assert cache.admit(new_request(range(5000, 5024), session="other")) == 0


def test_a_prompt_read_in_chunks_waits_for_room_for_all_of_it(cache: Served) -> None:
    cache.admit(subagent(1))
    assert cache.admit(subagent(2, tokens=6 * BLOCK_TOKENS), chunk=4) is None


def test_what_it_shares_with_its_lead_needs_no_room(cache: Served) -> None:
    cache.admit(subagent(1))
    assert cache.admit(subagent(2, head=PROMPT)) == len(PROMPT)


def test_a_lead_goes_last_of_all_while_its_subagents_run_and_not_after(cache: Served) -> None:
    request = subagent(1)
    cache.admit(request)
    cache.flood(64)
    assert cache.found(PROMPT) == len(PROMPT)
    cache.manager.free(request)
    cache.flood(64, start=50_000)
    assert cache.found(PROMPT) == 0


def test_one_that_gives_up_waiting_leaves_nothing_behind(cache: Served) -> None:
    requests = [subagent(number) for number in (1, 2, 3)]
    for request in requests:
        cache.admit(request)
    for request in reversed(requests):
        cache.manager.free(request)
    stats = cache.retention.stats()
    assert (stats["leads_spared"], stats["requests_waiting"], stats["awaited"]) == (0, 0, 0)
    cache.retention.check_integrity()


def test_a_subagent_of_a_subagent_spares_the_one_that_started_it(cache: Served) -> None:
    child = subagent(1)
    cache.serve(child)
    assert [cache.admit(subagent(number, lead="sub-1")) for number in (2, 3, 4, 5)] == [0, 0, 0, None]
    assert cache.found(range(1000, 1000 + 4 * BLOCK_TOKENS)) == 4 * BLOCK_TOKENS


def test_asking_again_looks_at_no_block_while_none_is_let_go(cache: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = map(subagent, (1, 2, 3))
    cache.admit(first), cache.admit(second), cache.admit(third)
    resident = Mock(wraps=cache.retention.requests.tagger.resident)
    monkeypatch.setattr(cache.retention.requests.tagger, "resident", resident)
    cache.generate(first, range(100, 110))
    assert [cache.admit(third) for _ in range(5)] == [None] * 5
    resident.assert_not_called()


class AskedTwice(RuleBasedStateMachine):
    """What is remembered of a request that is held back changes no answer."""

    @initialize()
    def make(self) -> None:
        self.cache = served(25)
        self.cache.serve(new_request(PROMPT, plan=new_plan((32, 35)), session="lead"))
        self.running: list[Request] = []
        self.waiting = [
            subagent(number, tokens=(number + 2) * BLOCK_TOKENS, head=PROMPT[: 16 * (number % 2)])
            for number in range(8)
        ]
        self._must_wait = self.cache.retention.leads.must_wait
        self.cache.retention.leads.must_wait = self._asked  # type: ignore[method-assign]  # to look on

    def _asked(self, request_id: str, lead: Lead, **room: Any) -> bool:
        leads = self.cache.retention.leads
        answer = self._must_wait(request_id, lead, **room)
        remembered, leads._short = leads._short, {}
        assert self._must_wait(request_id, lead, **room) == answer
        leads._short = remembered
        return answer

    @rule(data=st.data())
    def admit(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([one for one in self.waiting if one not in self.running]))
        if self.cache.admit(request) is not None:
            self.running.append(request)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.running))
        self.running.remove(request)
        self.cache.manager.free(request)
        request.num_computed_tokens = 0

    @precondition(lambda self: self.running)
    @rule(data=st.data(), token=st.integers(0, 3))
    def go_on(self, data: st.DataObject, token: int) -> None:
        request = data.draw(st.sampled_from(self.running))
        request.append_output_token_ids(token)
        self.cache.go_on(request)

    @rule(blocks=st.integers(0, 7))
    def lead_asks(self, blocks: int) -> None:
        prompt = [*PROMPT[: BLOCK_TOKENS * blocks], 7]
        request = new_request(prompt, plan=new_plan((len(prompt), 35)), session="lead")
        if self.cache.admit(request) is not None:
            self.cache.manager.free(request)

    @rule(block=st.integers(1, 24))
    def drop(self, block: int) -> None:
        self.cache.manager.evict_blocks({block})


AskedTwice.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
TestAskedTwice = AskedTwice.TestCase
