from __future__ import annotations

from appliance.recall_pace import LEAST_BLOCKS, TRY_EVERY, RecallPace


def test_what_nobody_has_tried_is_tried() -> None:
    pace = RecallPace()
    assert pace.seconds_per_block is None
    assert pace.pays(1e-9)


def test_a_disk_that_is_slower_than_computing_is_not_waited_for_but_for_a_trial_now_and_then() -> None:
    pace = RecallPace()
    pace.learn(100, 0.2)
    assert pace.pays(0.002)
    tries = [pace.pays(0.001) for _ in range(2 * TRY_EVERY)]
    assert [number for number, one in enumerate(tries, 1) if one] == [TRY_EVERY, 2 * TRY_EVERY]
    assert pace.skipped == 2 * TRY_EVERY - 2


def test_a_disk_that_has_become_quick_is_waited_for_again_after_a_few_recalls() -> None:
    pace = RecallPace()
    pace.learn(100, 10.0)
    for _ in range(20):
        pace.learn(100, 0.01)
    assert pace.pays(0.005)


def test_a_few_blocks_tell_nothing() -> None:
    pace = RecallPace()
    pace.learn(LEAST_BLOCKS - 1, 100.0)
    assert pace.seconds_per_block is None
