from __future__ import annotations

from appliance.keeper.budget import DAY_SECONDS, WriteBudget


def test_a_day_takes_what_fits_and_the_next_day_begins_anew() -> None:
    now = [10.0 * DAY_SECONDS]
    budget = WriteBudget(1000, lambda: now[0])
    assert budget.take(3, 300) == 3
    assert budget.take(1, 300) == 0
    assert budget.take(5, 50) == 2
    assert budget.spent == 1000
    now[0] += DAY_SECONDS - 1
    assert budget.take(1, 50) == 0
    now[0] += 1
    assert budget.take(9, 400) == 2
    assert budget.spent == 800
    assert budget.day_began_ms == 11 * DAY_SECONDS * 1000


def test_what_was_written_before_a_restart_counts() -> None:
    budget = WriteBudget(1000, lambda: 0.0)
    budget.spend(1200)
    assert budget.take(1, 1) == 0


def test_without_a_limit_all_is_written_and_counted() -> None:
    budget = WriteBudget(0, lambda: 0.0)
    assert budget.take(9, 400) == 9
    assert budget.spent == 3600
