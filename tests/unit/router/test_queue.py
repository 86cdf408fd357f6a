from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.cache.queue_order import PATIENCE_SECONDS, QueueOrder, Waiting, choose
from appliance.router.errors import IntegrityError
from appliance.router.queue import ORDERS, Entry, WaitingQueue
from tests.examples import examples

orders = st.sampled_from(ORDERS)


def entry(number: int, *, lane: int = 0, tier: int = 0, priority: int = 0, since: float = 0.0, **fields: Any) -> Entry:
    return Entry(number, lane, tier, priority, since, **({"missing_tokens": 100} | fields))


def turns(queue: WaitingQueue, order: QueueOrder, now_seconds: float, lane: int = 0) -> list[int]:
    """Whose turn it is, one after the other, until nobody waits."""
    numbers = []
    while (first := queue.head(lane, order, now_seconds)) is not None:
        numbers.append(first.number)
        queue.discard(first)
        queue.check_integrity()
    return numbers


def queue_of(*entries: Entry, depth: int = 99) -> WaitingQueue:
    queue = WaitingQueue(depth)
    for each in entries:
        queue.add(each)
    return queue


@pytest.mark.parametrize("order", ORDERS)
def test_a_higher_tier_goes_first_whatever_else_holds(order: QueueOrder) -> None:
    patience = PATIENCE_SECONDS[order]
    queue = queue_of(
        entry(0, priority=9, missing_tokens=0),
        entry(1, tier=1, since=patience, missing_tokens=10_000),
        entry(2, tier=1, priority=-9, since=patience + 1, missing_tokens=90_000),
    )
    assert turns(queue, order, 2 * patience) == [1, 2, 0]


@pytest.mark.parametrize("order", ORDERS)
def test_inside_a_tier_a_higher_priority_goes_first(order: QueueOrder) -> None:
    queue = queue_of(entry(0, missing_tokens=0), entry(1, priority=5, missing_tokens=900), entry(2, priority=-1))
    assert turns(queue, order, 1.0) == [1, 0, 2]


def test_of_the_equally_important_who_lacks_least_goes_first() -> None:
    queue = queue_of(*(entry(number, missing_tokens=tokens) for number, tokens in enumerate((900, 10, 500))))
    assert turns(queue, QueueOrder.LEAST_MISSING, 1.0) == [1, 2, 0]


def test_near_saturation_a_session_amid_its_turn_goes_before_new_turns() -> None:
    queue = queue_of(
        entry(0, missing_tokens=10),
        entry(1, missing_tokens=900, is_in_turn=True, since=2.0),
        entry(2, missing_tokens=500, is_in_turn=True, since=3.0),
        entry(3, missing_tokens=1, since=1.0),
    )
    assert turns(queue, QueueOrder.IN_TURN, 4.0) == [2, 1, 0, 3]


@pytest.mark.parametrize("order", ORDERS)
def test_who_has_waited_longer_than_the_patience_goes_first_of_its_tier_however_unimportant(order: QueueOrder) -> None:
    patience = PATIENCE_SECONDS[order]
    queue = queue_of(entry(0, priority=-9, missing_tokens=10_000), entry(1, priority=9, since=1.0))
    first = queue.head(0, order, patience)
    assert first is not None
    assert first.number == 1
    assert turns(queue, order, patience + 0.5) == [0, 1]


def test_each_lane_has_its_own_order_and_the_depth_counts_all() -> None:
    queue = queue_of(entry(0), entry(1, lane=3), entry(2, lane=3, priority=1), depth=3)
    assert (queue.is_full, sorted(queue.lanes), queue.tokens(3), queue.tokens(7)) == (True, [0, 3], 200, 0)
    assert turns(queue, QueueOrder.LEAST_MISSING, 1.0, lane=3) == [2, 1]
    assert (len(queue), queue.lanes, queue.is_full) == (1, [0], False)


def test_who_was_let_in_before_counts_not_against_the_depth_and_is_neither_oldest_nor_least() -> None:
    resumed, new = entry(0, priority=-9, may_be_refused=False), entry(1, since=5.0)
    queue = queue_of(resumed, new, depth=1)
    assert queue.is_full
    assert queue.oldest() is queue.least() is new
    queue.discard(new)
    assert (queue.oldest(), queue.least(), queue.is_full, len(queue)) == (None, None, False, 1)


def test_the_least_important_that_came_last_gives_way_first() -> None:
    queue = queue_of(entry(0), entry(1, since=1.0), entry(2, tier=1, priority=-5), entry(3, priority=1, since=9.0))
    gone = []
    while (least := queue.least()) is not None:
        gone.append(least.number)
        queue.discard(least)
    assert gone == [1, 0, 3, 2]


def test_the_check_finds_a_wrong_sum() -> None:
    queue = queue_of(entry(0))
    queue._lanes[0].tokens = 7
    with pytest.raises(IntegrityError, match="lane 0 counts 7 tokens of 1 entries"):
        queue.check_integrity()
    queue._size = 2
    with pytest.raises(IntegrityError, match="2 counted, 1 in lanes"):
        queue.check_integrity()


arrivals = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from([2.0, 29.0, 30.0, 500.0]), st.integers(0, 5)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=examples(200))
@given(arrivals, orders, st.integers(0, 400))
def test_among_the_equally_important_the_order_is_that_of_the_simulator(
    arrivals: list[tuple[int, float, int]], order: QueueOrder, later: int
) -> None:
    waiting = [
        Waiting(number, float(since), gap)
        for number, (since, gap, _) in enumerate(sorted(arrivals, key=lambda a: a[0]))
    ]
    missing = {number: tokens for number, (_, _, tokens) in enumerate(sorted(arrivals, key=lambda a: a[0]))}
    queue = queue_of(
        *(
            Entry(each.request, 0, 0, 0, each.arrival_seconds, missing[each.request], each.is_in_turn)
            for each in waiting
        )
    )
    now = waiting[-1].arrival_seconds + later
    expected = []
    while waiting:
        chosen = choose(waiting, order, now, missing.__getitem__)
        expected.append(chosen.request)
        waiting.remove(chosen)
    assert turns(queue, order, now) == expected


class Plain:
    """The same law over a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def head(self, lane: int, order: QueueOrder, now: float) -> Entry | None:
        there = [each for each in self.entries if each.lane == lane]
        if not there:
            return None
        tier = max(each.tier for each in there)
        there = [each for each in there if each.tier == tier]
        oldest = min(there, key=lambda each: (each.since_seconds, each.number))
        if now - oldest.since_seconds > PATIENCE_SECONDS[order]:
            return oldest
        priority = max(each.priority for each in there)
        there = [each for each in there if each.priority == priority]
        if order is QueueOrder.IN_TURN:
            in_turn = [each for each in there if each.is_in_turn]
            if not in_turn:
                return min(there, key=lambda each: (each.since_seconds, each.number))
            there = in_turn
        return min(there, key=lambda each: (each.missing_tokens, each.since_seconds, each.number))

    def refusable(self) -> list[Entry]:
        return [each for each in self.entries if each.may_be_refused]


class QueueTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = WaitingQueue(5)
        self.plain = Plain()
        self.now = 0.0
        self.number = 0

    @rule(
        lane=st.integers(0, 2),
        tier=st.integers(0, 1),
        priority=st.integers(-1, 1),
        missing=st.integers(0, 3),
        is_in_turn=st.booleans(),
        may_be_refused=st.booleans(),
    )
    def add(self, lane: int, tier: int, priority: int, missing: int, is_in_turn: bool, may_be_refused: bool) -> None:
        self.number += 1
        new = Entry(self.number, lane, tier, priority, self.now, missing, is_in_turn, may_be_refused)
        self.queue.add(new)
        self.plain.entries.append(new)

    @rule(seconds=st.sampled_from([0.0, 1.0, 119.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.plain.entries)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.plain.entries))
        self.queue.discard(gone)
        self.queue.discard(gone)
        self.plain.entries.remove(gone)

    @rule(lane=st.integers(0, 2), order=orders)
    def take(self, lane: int, order: QueueOrder) -> None:
        first = self.plain.head(lane, order, self.now)
        assert self.queue.head(lane, order, self.now) is first
        if first is not None:
            self.queue.discard(first)
            self.plain.entries.remove(first)

    @invariant()
    def agrees(self) -> None:
        refusable = self.plain.refusable()
        assert len(self.queue) == len(self.plain.entries)
        assert self.queue.is_full == (len(refusable) >= 5)
        assert self.queue.oldest() is min(refusable, key=lambda e: (e.since_seconds, e.number), default=None)
        least = min(refusable, key=lambda e: (*e.importance, -e.since_seconds, -e.number), default=None)
        assert self.queue.least() is least
        self.queue.check_integrity()


TestQueueTwin = QueueTwin.TestCase
TestQueueTwin.settings = settings(max_examples=examples(60), stateful_step_count=40)


def test_its_heaps_hold_little_more_than_who_waits() -> None:
    queue, number = WaitingQueue(8), 0
    for _ in range(500):
        entries = [entry(number + each, priority=each) for each in range(4)]
        number += 4
        for each in entries:
            queue.add(each)
        for each in entries[:3]:
            queue.discard(each)
        if len(queue) > 4:
            queue.discard(queue.entries(0)[0])
    lane = queue._lanes[0]
    heaps = [queue._oldest, queue._least, lane.by_age, *lane.by_order.values()]
    assert all(len(heap._rows) <= 2 * 9 + 17 for heap in heaps)
