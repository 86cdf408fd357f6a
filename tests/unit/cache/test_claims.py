from __future__ import annotations

import numpy as np
import pytest

from appliance.cache.claims import NO_END, Wish, capped, raised, settled, worth


def worths(*pairs: tuple[float, float | None]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.concatenate([worth(*pair) for pair in pairs], axis=1)


@pytest.mark.parametrize(
    ("priority", "seconds", "expected"),
    [(36, None, NO_END), (36, 5.0, 5.0), (35, None, 0.0), (35, 5.0, 0.0), (0, None, 0.0)],
)
def test_what_is_worth_no_more_than_the_default_asks_for_no_time(
    priority: float, seconds: float | None, expected: float
) -> None:
    assert worth(priority, seconds).tolist() == [[priority], [expected]]


def test_raising_lifts_what_is_ahead_and_capping_lowers_what_is_behind() -> None:
    some = worths((50, 5.0), (90, 1.0), (60, None), (10, None))
    assert raised(some).tolist() == [[90, 90, 60, 10], [NO_END, NO_END, NO_END, 0]]
    assert capped(some).tolist() == [[50, 50, 50, 10], [5, 1, 1, 0]]


def test_a_weaker_wish_is_held_between_the_stronger_ones_around_it() -> None:
    strong = Wish(
        np.array([False, True, False, True, False]), worths((0, None), (70, 5.0), (0, None), (50, 2.0), (0, None))
    )
    weak = Wish(np.ones(5, dtype=np.bool_), worths((90, None), (90, None), (90, None), (0, None), (90, None)))
    assert settled([strong, weak], 5).tolist() == [[90, 70, 70, 50, 50], [NO_END, 5, 5, 2, 2]]


def test_a_weak_wish_for_nothing_keeps_what_a_stronger_one_hangs_on() -> None:
    strong = Wish(np.array([False, True]), worths((0, None), (70, 5.0)))
    weak = Wish(np.ones(2, dtype=np.bool_), worths((0, None), (0, None)))
    assert settled([strong, weak], 2).tolist() == [[70, 70], [5, 5]]
