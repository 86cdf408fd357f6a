from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.cache.residual_life import (
    HORIZON_SECONDS,
    exposure_seconds,
    hazards_from_survival,
    mean_residual_life,
    survival,
)

EDGES = np.array([0.0, 1.0, 3.0, 10.0, 60.0, 700.0])
HAZARDS = st.lists(st.floats(0.0, 0.5), min_size=5, max_size=5).map(np.array)


def plain_mean(hazards: NDArray[np.float64], age: float, step_seconds: float = 0.05) -> float:
    """E[min(residual, 600 s)] as the sum of the chances to be still away, moment by moment."""
    still_away, total = 1.0, 0.0
    for moment in np.arange(age + step_seconds / 2, age + HORIZON_SECONDS, step_seconds):
        place = np.searchsorted(EDGES, moment, side="right") - 1
        hazard = hazards[place] if place < len(hazards) else 0.0
        total += still_away * step_seconds
        still_away *= 1 - hazard * step_seconds
    return total


def test_the_mean_agrees_with_a_sum_over_moments() -> None:
    hazards = np.array([0.02, 0.3, 0.1, 0.01, 0.001])
    plain = [plain_mean(hazards, age) for age in EDGES]
    np.testing.assert_allclose(mean_residual_life(hazards, EDGES), plain, rtol=0.02)


def test_who_never_returns_is_away_for_the_whole_horizon_at_every_age() -> None:
    assert mean_residual_life(np.zeros(5), EDGES).tolist() == [HORIZON_SECONDS] * 6


def test_survivors_are_carried_on_behind_the_last_return() -> None:
    """A session that has outlived all the others is not about to come back."""
    life = mean_residual_life(np.array([0.5, 0.5, 0.5, 0.0, 0.0]), EDGES)
    assert life[0] < 20
    assert life[3:].tolist() == [HORIZON_SECONDS] * 3


@given(HAZARDS)
def test_hazards_come_back_from_their_survival(hazards: NDArray[np.float64]) -> None:
    hazards = np.minimum(hazards, 500 / np.diff(EDGES).sum())
    np.testing.assert_allclose(hazards_from_survival(survival(hazards, EDGES), EDGES), hazards, atol=1e-6)


@given(HAZARDS)
def test_a_session_is_exposed_for_no_longer_than_a_bin_and_no_shorter_than_its_survivors(
    hazards: NDArray[np.float64],
) -> None:
    exposure, away = exposure_seconds(hazards, EDGES), survival(hazards, EDGES)
    assert (exposure <= np.diff(EDGES) * away[:-1] + 1e-9).all()
    assert (exposure >= np.diff(EDGES) * away[1:] - 1e-9).all()
