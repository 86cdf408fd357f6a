from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.errors import InvalidForecast
from appliance.cache.hint import BackWithin, ExpectedDuration
from appliance.cache.return_table import PRIOR_SESSIONS, ReturnTable, shipped_prior

AGES = (0, 2, 5, 10, 20, 30, 60, 120, 300, 900)
# Mean residual life in seconds at these ages, as published for the sessions that the shipped table comes from.
PUBLISHED = {
    0: (17, 15, 19, 43, 79, 98, 137, 204, 356, 510),
    3: (33, 31, 31, 50, 94, 120, 142, 182, 380, 495),
    7: (86, 85, 89, 122, 172, 198, 243, 281, 376, 463),
    8: (113, 120, 132, 137, 182, 240, 315, 376, 474, 485),
    12: (208, 214, 213, 213, 213, 211, 216, 260, 455, 510),
    15: (510, 510, 510, 513, 521, 521, 524, 526, 538, 481),
}


@pytest.fixture
def table() -> ReturnTable:
    return ReturnTable(shipped_prior())


def life(table: ReturnTable, row: int, age: float) -> float:
    edges = table.prior.edges_seconds
    return float(1 / table.keep(row)[np.searchsorted(edges, age, side="right") - 1])


@pytest.mark.parametrize("row", PUBLISHED)
def test_the_shipped_table_has_the_published_means(table: ReturnTable, row: int) -> None:
    # At 300 s the published bin begins at 295 s.
    ages = [295.0 if age == 300 else age for age in AGES]
    assert [life(table, row, age) for age in ages] == pytest.approx(PUBLISHED[row], rel=0.02, abs=0.6)


def test_rows_are_chosen_by_the_weighted_sum_of_what_is_known() -> None:
    prior = shipped_prior()
    assert prior.row(True, (None, None, None)) == 4
    assert prior.row(True, (0.0, 0.0, 0.0)) == 0
    assert prior.row(True, (5.0, 5.0, 5.0)) == 7
    assert prior.row(False, (None, None, None)) == 8 + 4
    assert prior.row(False, (-1.0, None, 2.0)) == 8
    assert prior.row(False, (6.0, None, 7.0)) == 15


def test_a_sum_on_a_cut_is_below_it() -> None:
    prior = shipped_prior()
    known = (None, prior.tool_use.mean[1] + (2.5363 - 2.5767) / 0.3611 * prior.tool_use.deviation[1], None)
    assert prior.tool_use.bucket(known) in (3, 4)
    assert prior.tool_use.bucket((None, prior.tool_use.mean[1], None)) == sum(c < 2.5767 for c in prior.tool_use.cuts)


def test_what_is_seen_outweighs_the_prior_in_the_end(table: ReturnTable) -> None:
    before = life(table, 15, 0.0)
    for _ in range(10 * int(PRIOR_SESSIONS)):
        table.observe(15, 2.2, returned=True)
    assert before > 500
    assert life(table, 15, 0.0) < 80
    table.check_integrity()


def test_as_many_gaps_as_the_prior_is_worth_move_the_hazard_half_way(table: ReturnTable) -> None:
    edges, prior = table.prior.edges_seconds, table.hazards(3)[0]
    for _ in range(int(PRIOR_SESSIONS)):
        table.observe(3, 1000.0, returned=False)
    assert table.hazards(3)[0] == pytest.approx(prior / 2, rel=0.01)
    assert edges[0] == 0


def test_a_gap_changes_its_own_row_only(table: ReturnTable) -> None:
    others = [table.keep(row).copy() for row in range(16) if row != 5]
    table.observe(5, 12.0, returned=True)
    assert all(
        np.array_equal(before, table.keep(row))
        for before, row in zip(others, (r for r in range(16) if r != 5), strict=True)
    )


def test_who_is_given_up_lowers_the_hazard_up_to_that_age_only(table: ReturnTable) -> None:
    before = table.hazards(2).copy()
    table.observe(2, 60.0, returned=False)
    after, edges = table.hazards(2), table.prior.edges_seconds
    seen = (edges[:-1] < 60) & (before > 0)
    assert (after[seen] < before[seen]).all()
    assert np.allclose(after[edges[:-1] >= 60], before[edges[:-1] >= 60])


def test_a_return_behind_the_last_edge_only_counts_as_time_away(table: ReturnTable) -> None:
    table.observe(2, 1e6, returned=True)
    assert table.observed_gaps == 0
    table.observe(2, 7199.0, returned=True)
    assert table.observed_gaps == 1


@given(row=st.integers(0, 15), seconds=st.floats(0.0, 1e5), spread=st.floats(0.1, 3.0))
def test_a_hint_never_changes_how_many_return(row: int, seconds: float, spread: float) -> None:
    table = ReturnTable(shipped_prior())
    plain, hinted = table.keep(row), table.keep_given(row, ExpectedDuration(seconds, spread))
    assert hinted[-1] == pytest.approx(plain[-1])
    assert np.isfinite(hinted).all()
    assert (hinted > 0).all()


def test_a_short_tool_is_worth_keeping_for_until_it_is_overdue(table: ReturnTable) -> None:
    edges = table.prior.edges_seconds
    plain, hinted = table.keep(4), table.keep_given(4, ExpectedDuration(10.0))
    assert hinted[0] > plain[0]
    late = int(np.searchsorted(edges, 120.0))
    assert hinted[late] < plain[late]


def test_one_bit_is_bayes_rule_with_two_likelihoods(table: ReturnTable) -> None:
    edges, hazards = table.prior.edges_seconds, table.hazards(4)
    away = np.exp(-np.concatenate([[0.0], np.cumsum(hazards * np.diff(edges))]))
    returning = away[:-1] - away[1:]
    weighted = returning * np.where((edges[:-1] + edges[1:]) / 2 <= 30, 0.9, 0.1)
    weighted *= returning.sum() / weighted.sum()
    still_away = 1 - np.concatenate([[0.0], np.cumsum(weighted)])
    # The mean over 600 s from age 0, with the returns of a bin spread as its hazard has them.
    bin_hazards = np.log(still_away[:-1] / still_away[1:]) / np.diff(edges)
    moments = np.arange(0.025, 600.0, 0.05)
    places = np.searchsorted(edges, moments, side="right") - 1
    chances = still_away[places] * np.exp(-bin_hazards[places] * (moments - edges[places]))
    assert 1 / table.keep_given(4, BackWithin(30.0, 0.1))[0] == pytest.approx(chances.sum() * 0.05, rel=1e-3)


def test_an_impossible_hint_is_ignored(table: ReturnTable) -> None:
    assert np.array_equal(table.keep_given(4, BackWithin(-1.0, error_rate=0.0)), table.keep(4))


def test_what_was_seen_travels_as_json(table: ReturnTable) -> None:
    table.observe(1, 3.0, returned=True)
    table.observe(9, 400.0, returned=False)
    other = ReturnTable(shipped_prior())
    other.restore(json.loads(json.dumps(table.to_dict())))
    assert np.array_equal(other.keep(1), table.keep(1))
    assert np.array_equal(other.keep(9), table.keep(9))
    other.check_integrity()


@pytest.mark.parametrize(
    "seen",
    [
        {},
        {"returns": [[1]], "exposure_seconds": [[1.0]]},
        {"returns": "x", "exposure_seconds": []},
        {"returns": np.full((16, 44), -1.0).tolist(), "exposure_seconds": np.zeros((16, 44)).tolist()},
        {"returns": np.full((16, 44), np.nan).tolist(), "exposure_seconds": np.zeros((16, 44)).tolist()},
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(table: ReturnTable, seen: dict[str, object]) -> None:
    table.observe(1, 3.0, returned=True)
    with pytest.raises(InvalidForecast):
        table.restore(seen)
    assert table.observed_gaps == 1
