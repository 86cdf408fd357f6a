from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.answer_length import PRIOR_TOKENS
from appliance.router.errors import IntegrityError
from appliance.router.hashing import hash_blocks
from appliance.router.load import LEAST_LEFT_TOKENS, MOST_OUTPUT_TOKENS, Loads, Prefill, Ticket
from appliance.router.scoring import DECODE_CONTEXT_TOKENS

BLOCK_TOKENS = 4


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Queue:
    """Loads with a clock, and the prefills that were told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.loads = Loads(BLOCK_TOKENS, self.clock)
        self.told: list[Prefill] = []

    def admit(self, tokens: int = 40, *, worker: int = 0, output_tokens: int | None = None) -> Ticket:
        return self.loads.admit(
            worker,
            hash_blocks(range(tokens), BLOCK_TOKENS),
            prompt_tokens=tokens,
            uncached_blocks=-(-tokens // BLOCK_TOKENS),
            output_tokens=output_tokens,
            on_prefill=self.told.append,
        )

    def after(self, seconds: float) -> None:
        self.clock.seconds += seconds


def test_a_prompt_alone_was_computed_from_its_admission_on() -> None:
    queue = Queue()
    ticket = queue.admit()
    queue.after(2.0)
    ticket.advance(1, cached_tokens=8)
    ticket.advance(1, cached_tokens=8)
    assert queue.told == [Prefill(cached_tokens=8, wait_seconds=2.0, service_seconds=2.0)]


def test_the_time_behind_others_is_not_the_time_of_computing() -> None:
    queue = Queue()
    tickets = [queue.admit() for _ in range(3)]
    for ticket, seconds in zip(tickets, (1.0, 2.0, 4.0), strict=True):
        queue.after(seconds)
        ticket.first_token(0)
    assert [prefill.wait_seconds for prefill in queue.told] == [1.0, 3.0, 7.0]
    assert [prefill.service_seconds for prefill in queue.told] == [1.0, 2.0, 4.0]


def test_what_is_left_of_an_aborted_prompt_spoils_no_measure() -> None:
    queue = Queue()
    aborted, behind = queue.admit(), queue.admit()
    queue.after(1.0)
    aborted.close()
    queue.after(1.0)
    behind.first_token(0)
    later = queue.admit()
    queue.after(1.0)
    later.first_token(0)
    assert [prefill.service_seconds for prefill in queue.told] == [None, 1.0]


def test_load_grows_with_the_answer_block_by_block() -> None:
    queue = Queue()
    ticket = queue.admit(40)
    before = queue.loads.of(0).decode_tokens
    assert before == pytest.approx(PRIOR_TOKENS * (40 + PRIOR_TOKENS / 2) / DECODE_CONTEXT_TOKENS)
    for _ in range(BLOCK_TOKENS - 1):
        ticket.advance(1)
    assert (queue.loads.of(0).context_blocks, queue.loads.of(0).decode_tokens) == (10, before)
    ticket.advance(1)
    assert queue.loads.of(0).context_blocks == 11
    assert queue.loads.of(0).decode_tokens > before
    queue.loads.check_integrity()


def test_an_expected_answer_weighs_less_the_more_of_it_is_made() -> None:
    queue = Queue()
    ticket = queue.admit(40, output_tokens=4000)
    weights = [queue.loads.of(0).decode_tokens]
    for _ in range(9):
        ticket.advance(390)
        weights.append(queue.loads.of(0).decode_tokens)
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == pytest.approx(4000 * 2040 / DECODE_CONTEXT_TOKENS)


def test_a_long_answer_weighs_more_than_a_short_one() -> None:
    queue = Queue()
    queue.admit(worker=0, output_tokens=5000)
    queue.admit(worker=1, output_tokens=300)
    assert queue.loads.of(0).decode_tokens > 50 * queue.loads.of(1).decode_tokens


def test_short_answers_weigh_alike_so_that_many_of_them_are_a_load() -> None:
    queue = Queue()
    queue.admit(worker=0, output_tokens=1)
    queue.admit(worker=1, output_tokens=LEAST_LEFT_TOKENS)
    assert queue.loads.of(0).decode_tokens == queue.loads.of(1).decode_tokens


@pytest.mark.parametrize(("told", "expected"), [(-5, 1), (0, 1), (10**30, MOST_OUTPUT_TOKENS)])
def test_expectations_beyond_reason_are_bounded(told: int, expected: int) -> None:
    assert Queue().admit(output_tokens=told).expected_tokens == expected


def test_answers_that_ended_teach_what_to_expect() -> None:
    queue = Queue()
    for _ in range(200):
        ticket = queue.admit()
        ticket.advance(20)
        ticket.close()
    queue.admit().close()
    assert queue.admit().expected_tokens < 60


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_sums_are_those_of_the_open_tickets_whatever_happens(seed: int, steps: int) -> None:
    random, queue = Random(seed), Queue()  # noqa: S311  a seeded test
    tickets: list[Ticket] = []
    for _ in range(steps):
        queue.after(random.random())
        chosen = random.choice(tickets) if tickets else None
        match random.randrange(4):
            case 0 if chosen:
                chosen.advance(random.randrange(9), random.choice([None, 0, 8]))
            case 1 if chosen:
                chosen.close()
            case 2 if chosen:
                chosen.first_token(4)
            case _:
                told = random.choice([None, 1, 50])
                tickets.append(queue.admit(random.randrange(80), worker=random.randrange(3), output_tokens=told))
        queue.loads.check_integrity()
    assert all(prefill.service_seconds is None or prefill.service_seconds >= 0 for prefill in queue.told)
    for ticket in tickets:
        ticket.close()
    assert queue.loads.workers() == frozenset()


def test_the_check_finds_a_closed_ticket_in_prefill() -> None:
    queue = Queue()
    ticket = queue.admit()
    ticket.close()
    queue.loads._in_prefill.add(ticket)
    with pytest.raises(IntegrityError, match="closed ticket"):
        queue.loads.check_integrity()
