"""Numbers as text: short, honest, and — where nobody knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.tui import figures

ALL = [
    figures.count, figures.short, figures.share, figures.milliseconds, figures.seconds, figures.size, figures.flow,
]  # fmt: skip


@pytest.mark.parametrize("shown", ALL)
def test_unknown_is_no_number(shown: Callable[[float | None], str]) -> None:
    assert shown(None) == "—"


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        (figures.count, 12_345, "12,345"),
        (figures.short, 0, "0"),
        (figures.short, 999, "999"),
        (figures.short, 999.6, "1.00K"),
        (figures.short, 41_234, "41.2K"),
        (figures.short, 999_999, "1.00M"),
        (figures.short, 3_050_000, "3.05M"),
        (figures.share, 0.0, "0%"),
        (figures.share, 1.0, "100%"),
        (figures.share, 0.9996, "99.9%"),
        (figures.share, 0.931, "93.1%"),
        (figures.milliseconds, 180.2, "180 ms"),
        (figures.milliseconds, 1_430.0, "1.4 s"),
        (figures.seconds, 0, "0 s"),
        (figures.seconds, 0.347, "0.35 s"),
        (figures.seconds, 12.3, "12 s"),
        (figures.seconds, 59.7, "1m00s"),
        (figures.seconds, 185, "3m05s"),
        (figures.seconds, 7_800, "2h10m"),
        (figures.seconds, 353_000, "4d02h"),
        (figures.size, 812, "812 B"),
        (figures.size, 1.5 * 2**30, "1.50 GiB"),
        (figures.flow, 18 * 2**20, "18.0 MiB/s"),
    ],
)
def test_numbers_are_told_in_few_characters(shown: Callable[[float], str], value: float, text: str) -> None:
    assert shown(value) == text


@given(st.floats(0, 1e12))
def test_no_figure_is_wider_than_its_column(value: float) -> None:
    assert len(figures.short(value)) <= 7
    assert len(figures.size(value)) <= 9
    assert len(figures.seconds(min(value, 1e9))) <= 9


@given(st.floats(0, 1))
def test_a_share_is_only_whole_when_it_is(value: float) -> None:
    assert (figures.share(value) == "100%") == (value == 1)


def test_one_has_no_plural() -> None:
    assert figures.plural(1, "block") == "1 block"
    assert figures.plural(1_200, "block") == "1,200 blocks"
