from __future__ import annotations

import math

from appliance.cache.queue_order import QueueOrder, Waiting, choose

MISSING = {0: 900, 1: 500, 2: 10, 3: 700}
QUEUE = [Waiting(0, 0.0, math.inf), Waiting(1, 10.0, 5.0), Waiting(2, 20.0, 200.0), Waiting(3, 30.0, 2.0)]


def chosen(order: QueueOrder, now_seconds: float, queue: list[Waiting] | None = None) -> int:
    return choose(queue or QUEUE, order, now_seconds, MISSING.__getitem__).request


def test_first_come_is_first_served() -> None:
    assert chosen(QueueOrder.FIRST_COME, 31.0) == 0


def test_who_lacks_least_goes_first() -> None:
    assert chosen(QueueOrder.LEAST_MISSING, 31.0) == 2


def test_a_session_amid_its_turn_goes_before_a_new_turn_that_lacks_less() -> None:
    assert chosen(QueueOrder.IN_TURN, 31.0) == 1


def test_new_turns_go_as_they_came() -> None:
    assert chosen(QueueOrder.IN_TURN, 31.0, [QUEUE[0], QUEUE[2]]) == 0


def test_nobody_waits_forever() -> None:
    assert chosen(QueueOrder.LEAST_MISSING, 120.0) == 2
    assert chosen(QueueOrder.LEAST_MISSING, 121.0) == 0
    assert chosen(QueueOrder.IN_TURN, 300.0) == 1
    assert chosen(QueueOrder.IN_TURN, 301.0) == 0
