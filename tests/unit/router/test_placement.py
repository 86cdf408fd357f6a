"""Where requests go when several parts of the cost pull: sessions, subagents, full caches, slow workers, places."""

from __future__ import annotations

from collections import Counter, deque
from random import Random

import pytest

from appliance.cache.prompt_read import TierTokens
from appliance.router.decision import Reason
from appliance.router.errors import TooManyReservations
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.load import Ticket
from appliance.router.reservations import MOST_RESERVATIONS
from appliance.router.router import Router, RoutingPolicy
from appliance.router.scoring import Cost, Prospect, Room, least_loaded

BLOCK_TOKENS = 16
SHARED = list(range(4000))


class House:
    """A router over workers that report what they have computed at once, and a clock that is set by hand."""

    def __init__(self, workers: int = 2, **options: object) -> None:
        self.now = 0.0
        self.index = PrefixIndex()
        self.random = Random(3)  # noqa: S311  a seeded test
        settings = {"block_tokens": BLOCK_TOKENS, "random": self.random, "clock": lambda: self.now} | options
        self.router = Router(self.index, range(workers), RoutingPolicy.KV, **settings)  # type: ignore[arg-type]  # options

    def own(self, tokens: int = 200) -> list[int]:
        return [self.random.randrange(5000, 10**6) for _ in range(tokens)]

    def begin(self, token_ids: list[int], session_id: str | None = None) -> Ticket:
        ticket = self.router.admit(self.router.route(token_ids, session_id=session_id), "r")
        self.index.store(ticket.worker, ticket.hashes)
        return ticket

    def compute(self, ticket: Ticket, seconds_per_token: float = 0.001) -> None:
        """What is not cached of its prompt; the first token comes."""
        computed_tokens = ticket.uncached_blocks * BLOCK_TOKENS
        self.now += computed_tokens * seconds_per_token
        ticket.advance(1, cached_tokens=ticket.prompt_tokens - computed_tokens)

    def ask(self, token_ids: list[int], session_id: str | None = None) -> int:
        """A whole request by itself; its worker."""
        ticket = self.begin(token_ids, session_id)
        self.compute(ticket)
        ticket.close()
        return ticket.worker


@pytest.mark.parametrize("concurrency", [2, 4, 8, 16])
def test_subagents_share_the_worker_of_their_prefix_but_not_beside_an_idle_one(concurrency: int) -> None:
    house, running = House(), deque[Ticket]()
    house.ask(SHARED, "lead")
    share: Counter[int] = Counter()
    for number in range(60):
        ticket = house.begin(SHARED + house.own(), f"subagent {number}")
        house.compute(ticket)
        ticket.advance(32)
        share[ticket.worker] += 1
        running.append(ticket)
        busy = Counter(one.worker for one in running)
        assert not (max(busy.values()) > 8 and len(busy) == 1)
        if len(running) == concurrency:
            running.popleft().close()
    if concurrency >= 16:
        assert min(share.values()) >= 15


def test_a_subagent_alone_goes_where_its_prefix_is() -> None:
    house = House(4)
    lead = house.ask(SHARED, "lead")
    assert {house.ask(SHARED + house.own(), f"subagent {number}") for number in range(20)} == {lead}


def test_a_session_stays_with_its_worker_when_nothing_else_decides() -> None:
    house = House(4)
    for number in range(20):
        first = house.ask(house.own(), f"s{number}")
        assert house.ask(house.own(), f"s{number}") == first


def test_a_session_does_not_wait_for_its_worker_behind_a_long_queue() -> None:
    house = House()
    worker = house.ask(house.own(), "s")
    house.router.admit(house.router.route(house.own(8000), exclude=frozenset({1 - worker})))
    assert house.router.route(house.own(), session_id="s").worker != worker


def test_a_dry_decision_does_not_move_a_session() -> None:
    house = House()
    worker = house.ask(house.own(), "s")
    house.router.route(house.own(), session_id="s", exclude=frozenset({worker}))
    assert house.router.route(house.own(), session_id="s").worker == worker


def test_a_prompt_goes_where_it_pushes_nothing_out() -> None:
    house = House()
    house.router.told_room(0, Room(free_blocks=0, unclaimed_blocks=100, claimed_blocks=100))
    house.router.told_room(1, Room(free_blocks=200, unclaimed_blocks=0, claimed_blocks=0))
    decision = house.router.route(house.own(1600))
    assert (decision.worker, decision.reason) == (1, Reason.COST)
    assert decision.candidates[0].cost.displacement_seconds > 0
    house.router.remove_worker(0)
    house.router.add_worker(0)
    assert house.router.route(house.own(1600)).candidates[0].cost.displacement_seconds == 0


def test_blocks_on_a_lower_tier_draw_a_prompt_once_reading_them_was_measured() -> None:
    house = House()
    prompt = house.own(1600)
    house.index.store(1, hash_blocks(prompt, BLOCK_TOKENS), tier=Tier.HOST)
    house.router.paces.learn(1, 0, 0.03, TierTokens(host=10_000))
    decision = house.router.route(prompt)
    assert decision.worker == 1
    assert (decision.overlap_blocks, decision.uncached_blocks) == (0, 0)


def test_a_slow_worker_gets_less() -> None:
    house, share = House(), Counter[int]()
    for _ in range(40):
        for worker, seconds_per_token in ((0, 0.001), (1, 0.004)):
            ticket = house.router.admit(house.router.route(house.own(2000), exclude=frozenset({1 - worker})))
            house.compute(ticket, seconds_per_token)
            ticket.close()
    for _ in range(30):
        share[house.begin(house.own(2000)).worker] += 1
    assert 2.5 * share[1] < share[0] < 6 * share[1]


def test_real_cached_tokens_and_times_are_learned_and_settle_the_decision() -> None:
    house = House(1)
    for _ in range(50):
        house.ask(house.own(1600))
        house.ask(house.own(160))
    assert house.router.paces.of(0).seconds_per_token == pytest.approx(0.001, rel=0.05)
    newest = house.router.history.of("r")[-1]
    assert newest.outcome is not None
    assert newest.outcome.cached_tokens == 0
    assert newest.outcome.wait_seconds == pytest.approx(0.16)
    house.router.check_integrity()


def test_a_reserved_place_weighs_like_a_request_and_its_end_is_noticed() -> None:
    house = House()
    decision = house.router.route(SHARED)
    house.router.reserve(decision, "p", seconds=10.0)
    assert house.router.route(house.own(4000)).worker != decision.worker
    assert len(house.router.history) == 0
    house.now = 10.0
    assert all(status.running == 0 for status in house.router.snapshot())
    house.router.reserve(house.router.route(SHARED), "q", seconds=10.0)
    house.now = 20.0
    assert all(candidate.prospect.running == 0 for candidate in house.router.route(SHARED).candidates)
    house.router.check_integrity()


def test_a_reservation_too_many_reserves_nothing() -> None:
    house = House()
    for number in range(MOST_RESERVATIONS):
        house.router.reserve(house.router.route([1]), str(number), 10.0)
    with pytest.raises(TooManyReservations):
        house.router.reserve(house.router.route([1]), "more", 10.0)
    assert sum(status.running for status in house.router.snapshot()) == MOST_RESERVATIONS
    house.router.check_integrity()


def test_another_scorer_decides_by_its_own_lights() -> None:
    def farthest(prospect: Prospect) -> Cost:
        return Cost(other_seconds=-prospect.worker)

    assert House(4, scorer=farthest).router.route(SHARED).worker == 3
    house = House(scorer=least_loaded)
    worker = house.ask(SHARED)
    house.begin(house.own(4000))
    busy = next(status.worker for status in house.router.snapshot() if status.running)
    assert house.router.route(SHARED).worker == 1 - busy
    assert worker in (0, 1)
