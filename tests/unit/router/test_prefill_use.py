from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.queue_order import QueueOrder
from appliance.router.errors import IntegrityError
from appliance.router.prefill_use import MEMORY_SECONDS, PrefillUse


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_what_was_long_ago_counts_for_nothing() -> None:
    clock = Clock()
    use = PrefillUse(clock)
    use.observe(1.0)
    clock.seconds += 20 * MEMORY_SECONDS
    assert use.share == pytest.approx(1.0)
    use.observe(0.0)
    assert use.share == pytest.approx(1.0)
    clock.seconds += 20 * MEMORY_SECONDS
    assert use.share == pytest.approx(0.0, abs=1e-6)


def test_the_order_changes_near_saturation_and_back_only_well_below() -> None:
    clock = Clock()
    use = PrefillUse(clock)

    def after(busy_share: float) -> QueueOrder:
        use.observe(busy_share)
        clock.seconds += 20 * MEMORY_SECONDS
        use.observe(busy_share)
        return use.order

    orders = [after(share) for share in (0.5, 0.8, 0.95, 0.8, 0.65, 0.5, 0.8)]
    least, in_turn = QueueOrder.LEAST_MISSING, QueueOrder.IN_TURN
    assert orders == [least, least, in_turn, in_turn, in_turn, least, least]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1))))
def test_the_share_stays_between_those_seen(observed: list[tuple[float, float]]) -> None:
    clock = Clock()
    use = PrefillUse(clock)
    for seconds, busy_share in observed:
        use.observe(busy_share)
        clock.seconds += seconds
        use.check_integrity()
        assert -1e-9 <= use.share <= max(share for _, share in observed) + 1e-9


def test_how_often_it_is_told_changes_nothing() -> None:
    clocks = Clock(), Clock()
    once, often = PrefillUse(clocks[0]), PrefillUse(clocks[1])
    once.observe(0.7)
    for _ in range(100):
        often.observe(0.7)
        clocks[1].seconds += 1
    clocks[0].seconds += 100
    assert often.share == pytest.approx(once.share)


def test_the_check_finds_a_share_that_is_none() -> None:
    use = PrefillUse(Clock())
    use.observe(1.5)
    with pytest.raises(IntegrityError, match=r"1.5 of the workers"):
        use.check_integrity()
