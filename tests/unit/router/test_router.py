from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.errors import BoxError
from appliance.router.errors import IntegrityError, NoWorker
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex
from appliance.router.load import Ticket
from appliance.router.router import Router, RoutingPolicy, WorkerStatus

BLOCK_TOKENS = 4


@pytest.fixture
def index() -> PrefixIndex:
    return PrefixIndex()


def router_over(index: PrefixIndex, *workers: int, policy: RoutingPolicy = RoutingPolicy.KV) -> Router:
    return Router(index, workers, policy, block_tokens=BLOCK_TOKENS, random=Random(7))  # noqa: S311  a seeded test


def served(router: Router) -> int:
    """The worker of one more request, which ends at once."""
    ticket = router.admit(router.route([1]))
    ticket.close()
    return ticket.worker


def prompt(family: int, num_tokens: int) -> list[int]:
    return [family, *range(1, num_tokens)]


def test_kv_follows_the_longest_held_prefix(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1, 2)
    hashes = hash_blocks(prompt(5, 40), BLOCK_TOKENS)
    index.store(1, hashes[:4])
    index.store(2, hashes[:7])
    decision = router.route(prompt(5, 42))
    assert (decision.worker, decision.overlap_blocks, decision.prompt_blocks) == (2, 7, 11)
    assert [candidate.overlap_blocks for candidate in decision.candidates] == [0, 4, 7]
    assert np.array_equal(decision.hashes, hashes)
    assert decision.uncached_blocks == 4


def test_extra_keys_reach_the_hashes(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1)
    index.store(1, hash_blocks(prompt(5, 8), BLOCK_TOKENS, extra_keys=[["salt"]]))
    assert router.route(prompt(5, 8), extra_keys=[["salt"]]).overlap_blocks == 2
    assert router.route(prompt(5, 8)).overlap_blocks == 0


def test_a_burst_that_shares_a_prefix_follows_the_first_request(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1)
    first = router.admit(router.route(prompt(1, 4000)))
    for follower in range(3):
        decision = router.route([*prompt(1, 4000), *[1000 + follower] * 40])
        assert decision.worker == first.worker
        assert (decision.overlap_blocks, decision.chosen.pending_blocks, decision.uncached_blocks) == (0, 1000, 10)
        router.admit(decision)


def test_a_long_burst_spills_to_an_idle_worker(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1)
    tickets = [router.admit(router.route([*prompt(1, 4000), *[1000 + n] * 40])) for n in range(16)]
    share = Counter(ticket.worker for ticket in tickets)
    assert min(share.values()) >= 6
    assert sum(ticket.uncached_blocks for ticket in tickets) == 2 * 1010 + 14 * 10


def test_pending_blocks_continue_the_held_ones(index: PrefixIndex) -> None:
    router = router_over(index, 0)
    index.store(0, hash_blocks(prompt(1, 40), BLOCK_TOKENS))
    router.admit(router.route(prompt(1, 80)))
    chosen = router.route(prompt(1, 120)).chosen
    assert (chosen.overlap_blocks, chosen.pending_blocks) == (10, 10)


@pytest.mark.parametrize("num_tokens", [2, 600, 20_000])
def test_kv_spreads_distinct_prompts_evenly(index: PrefixIndex, num_tokens: int) -> None:
    router = router_over(index, 0, 1, 2)
    tickets = [router.admit(router.route(prompt(family, num_tokens))) for family in range(30)]
    assert Counter(ticket.worker for ticket in tickets) == {0: 10, 1: 10, 2: 10}


def test_ties_favour_nobody(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1, 2)
    chosen = Counter(router.route(prompt(1, 8)).worker for _ in range(3000))
    assert all(900 < chosen[worker] < 1100 for worker in (0, 1, 2))


def test_round_robin_takes_turns_around_missing_workers(index: PrefixIndex) -> None:
    router = router_over(index, 0, 2, 5, policy=RoutingPolicy.ROUND_ROBIN)
    assert [served(router) for _ in range(4)] == [0, 2, 5, 0]
    router.remove_worker(2)
    assert [served(router) for _ in range(2)] == [5, 0]
    router.add_worker(1)
    assert router.route([1], exclude=frozenset({5})).worker == 1


def test_a_decision_that_is_not_admitted_takes_no_turn(index: PrefixIndex) -> None:
    router = router_over(index, 0, 2, 5, policy=RoutingPolicy.ROUND_ROBIN)
    assert [router.route([1]).worker for _ in range(3)] == [0, 0, 0]
    assert [served(router) for _ in range(3)] == [0, 2, 5]


def test_random_ignores_what_workers_hold(index: PrefixIndex) -> None:
    router = router_over(index, 0, 1, policy=RoutingPolicy.RANDOM)
    index.store(0, hash_blocks(prompt(1, 40), BLOCK_TOKENS))
    decisions = [router.route(prompt(1, 40)) for _ in range(100)]
    assert {decision.worker for decision in decisions} == {0, 1}
    assert {decision.candidates[0].overlap_blocks for decision in decisions} == {10}


def test_without_a_candidate_the_error_says_who_was_excluded(index: PrefixIndex) -> None:
    router = router_over(index, 0)
    with pytest.raises(NoWorker, match=r"accepting \[0\], excluded \[0\]") as error:
        router.route([1], exclude=frozenset({0}))
    assert isinstance(error.value, BoxError)
    router.remove_worker(0)
    with pytest.raises(NoWorker, match=r"accepting \[\]"):
        router.route([1])


def test_a_ticket_is_prefill_until_the_first_token_and_runs_until_closed(index: PrefixIndex) -> None:
    router = router_over(index, 0)
    ticket = router.admit(router.route(prompt(1, 41)))
    assert router.snapshot() == (WorkerStatus(0, True, running=1, prefill_blocks=11, context_blocks=11),)
    ticket.first_token()
    ticket.first_token()
    assert router.snapshot() == (WorkerStatus(0, True, running=1, prefill_blocks=0, context_blocks=11),)
    ticket.close()
    ticket.close()
    ticket.first_token()
    assert router.snapshot() == (WorkerStatus(0, True, running=0, prefill_blocks=0, context_blocks=0),)


def test_a_removed_worker_is_shown_until_its_last_ticket_closes(index: PrefixIndex) -> None:
    router = router_over(index, 0)
    ticket = router.admit(router.route(prompt(1, 8)))
    router.remove_worker(0)
    assert router.snapshot() == (WorkerStatus(0, False, running=1, prefill_blocks=2, context_blocks=2),)
    ticket.close()
    assert router.snapshot() == ()


def test_the_check_finds_a_wrong_sum(index: PrefixIndex) -> None:
    router = router_over(index, 0)
    router.admit(router.route(prompt(1, 8)))
    router._loads._loads[0].running = 2
    with pytest.raises(IntegrityError, match="sums"):
        router.check_integrity()


class RouterMachine(RuleBasedStateMachine):
    """Random traffic over three workers beside a plain list of open tickets."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex()
        self.workers = {0, 1, 2}
        self.open: dict[Ticket, bool] = {}

    @initialize(policy=st.sampled_from(RoutingPolicy))
    def start(self, policy: RoutingPolicy) -> None:
        self.router = router_over(self.index, 0, 1, 2, policy=policy)

    @precondition(lambda self: self.workers)
    @rule(family=st.integers(0, 2), num_tokens=st.integers(0, 3000), is_admitted=st.booleans())
    def route(self, family: int, num_tokens: int, is_admitted: bool) -> None:
        decision = self.router.route(prompt(family, num_tokens))
        assert {candidate.worker for candidate in decision.candidates} == self.workers
        if self.router.policy is RoutingPolicy.KV:
            chosen = decision.chosen
            for other in decision.candidates:
                other_reuse = other.overlap_blocks + other.pending_blocks
                is_better_in_both = (
                    other_reuse > chosen.overlap_blocks + chosen.pending_blocks
                    and other.prospect.prefill_blocks < chosen.prospect.prefill_blocks
                    and other.prospect.decode_tokens < chosen.prospect.decode_tokens
                )
                assert not is_better_in_both
        if is_admitted:
            self.open[self.router.admit(decision)] = True

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def first_token(self, data: st.DataObject) -> None:
        ticket = list(self.open)[data.draw(st.integers(0, len(self.open) - 1))]
        ticket.first_token()
        self.index.store(ticket.worker, ticket.hashes)
        self.open[ticket] = False

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        ticket = list(self.open)[data.draw(st.integers(0, len(self.open) - 1))]
        ticket.close()
        ticket.close()
        del self.open[ticket]

    @rule(worker=st.integers(0, 2), is_added=st.booleans())
    def change_workers(self, worker: int, is_added: bool) -> None:
        if is_added:
            self.router.add_worker(worker)
            self.workers.add(worker)
        else:
            self.router.remove_worker(worker)
            self.workers.discard(worker)

    @invariant()
    def loads_are_the_sums_of_open_tickets(self) -> None:
        self.router.check_integrity()
        busy = {ticket.worker for ticket in self.open}
        assert self.router.snapshot() == tuple(self.expected(worker) for worker in sorted(self.workers | busy))

    def expected(self, worker: int) -> WorkerStatus:
        mine = [ticket for ticket in self.open if ticket.worker == worker]
        return WorkerStatus(
            worker,
            worker in self.workers,
            len(mine),
            sum(ticket.uncached_blocks for ticket in mine if self.open[ticket]),
            sum(ticket.prompt_blocks for ticket in mine),
        )

    def teardown(self) -> None:
        for ticket in self.open:
            ticket.close()
        self.open.clear()
        self.loads_are_the_sums_of_open_tickets()


TestRouter = RouterMachine.TestCase
