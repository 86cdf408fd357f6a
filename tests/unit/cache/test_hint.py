from __future__ import annotations

import numpy as np
import pytest

from appliance.cache.hint import BackWithin, ExpectedDuration, UsualGap


def test_an_expected_duration_is_likeliest_where_it_says() -> None:
    gaps = np.array([1.0, 5.0, 10.0, 20.0, 100.0])
    assert int(np.argmax(ExpectedDuration(10.0).likelihood(gaps))) == 2


def test_an_expected_duration_is_as_wrong_by_half_as_by_double() -> None:
    half, double = ExpectedDuration(10.0).likelihood(np.array([5.0, 20.0]))
    assert np.isclose(half, double)


def test_an_expected_duration_of_nothing_is_a_very_short_one() -> None:
    likelihood = ExpectedDuration(0.0).likelihood(np.array([0.01, 10.0]))
    assert likelihood[0] > likelihood[1]


def test_a_usual_gap_is_likeliest_where_it_says_and_nowhere_ruled_out() -> None:
    gaps = np.array([0.01, 1.0, 10.0, 100.0, 1e6])
    likelihood = UsualGap(10.0, error_rate=0.2).likelihood(gaps)
    assert int(np.argmax(likelihood)) == 2
    assert likelihood.min() == pytest.approx(0.2)
    assert likelihood.max() == pytest.approx(1.0)


def test_one_bit_is_wrong_as_often_as_it_says() -> None:
    assert BackWithin(30.0, error_rate=0.1).likelihood(np.array([29.0, 31.0])).tolist() == [0.9, 0.1]
