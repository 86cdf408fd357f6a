"""Lines, curves and bars: exactly as wide as they should be, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from textual.color import Color

from appliance.tui import bars, ink
from appliance.tui.chart import area, sparkline
from appliance.tui.line import beside, cell, clean, cut, fit, heading, text_of, width_of, words, wrapped
from appliance.tui.picture import picture
from appliance.tui.plain_screen import AsciiFilter, to_ascii

PIECES = st.lists(st.text("ab 世界é█", max_size=8), max_size=5)
AMOUNTS = st.lists(st.floats(0, 1e9), min_size=1, max_size=6)


@given(PIECES, st.integers(0, 30))
def test_a_fitted_line_is_exactly_so_wide(pieces: list[str], width: int) -> None:
    assert width_of(fit(words(*pieces), width)) == width


@given(PIECES)
def test_what_fits_is_not_changed(pieces: list[str]) -> None:
    line = words(*pieces)
    assert text_of(fit(line, width_of(line))) == text_of(line)


def test_what_is_cut_says_so() -> None:
    assert text_of(fit(words("abc", "def"), 4)) == "abc…"
    assert text_of(fit(words("abc", "def"), 3)) == "ab…"
    assert cut("abcdef", 0) == ""
    assert cell("12", 5, right=True) == "   12"


def test_what_a_terminal_obeys_never_reaches_it() -> None:
    assert clean("a\x1b[31mb\n\x9bc\u202e") == "a�[31mb��c�"
    assert clean("Grüße 世界") == "Grüße 世界"


def test_two_columns_stand_side_by_side_however_long() -> None:
    lines = beside([words("one")], [words("a"), words("b")], 20)
    assert [text_of(line) for line in lines] == ["one        a        ", "           b        "]


def test_a_heading_fills_its_line() -> None:
    assert text_of(heading("tiers", 20, "note")) == "tiers ───────── note"


def test_words_break_at_blanks() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("", 8) == [""]


def test_a_curve_is_as_high_as_its_values() -> None:
    assert area([1.0, 0.5], 1, 1, 1.0) == ["⣧"]
    assert area([1.0, 1.0], 1, 2, 1.0) == ["⣿", "⣿"]
    assert area([None, 0.0], 1, 1, 1.0) == ["⢀"]


@given(st.lists(st.none() | st.floats(-1, 100), max_size=50), st.integers(1, 12), st.integers(1, 5))
def test_a_curve_has_its_size_whatever_it_shows(values: list[float | None], width: int, height: int) -> None:
    rows = area(values, width, height, 10.0)
    assert [len(row) for row in rows] == [width] * height


def test_a_sparkline_leaves_unknown_blank() -> None:
    assert sparkline([None, 0.0, 1.0], 4) == "  ▁█"


@given(AMOUNTS, st.integers(1, 60))
def test_a_bar_is_exactly_so_wide(amounts: list[float], width: int) -> None:
    bar = bars.stacked([bars.Part(amount, "█", ink.GPU) for amount in amounts], width)
    assert width_of(bar) == width


@given(AMOUNTS, st.integers(10, 60))
def test_a_part_that_is_there_is_seen(amounts: list[float], width: int) -> None:
    parts = [bars.Part(amount, chr(65 + place), ink.GPU) for place, amount in enumerate(amounts)]
    shown = text_of(bars.stacked(parts, width))
    for part in parts:
        assert (part.pattern in shown) == (part.amount > 0)


def test_an_empty_whole_is_an_empty_bar() -> None:
    assert text_of(bars.stacked([bars.Part(0, "█", ink.GPU)], 5)) == "·····"
    assert text_of(bars.fill(50, 25, 100, 8, bars.HOST)) == "██▒▒····"


@given(st.text(max_size=30))
def test_a_screen_without_unicode_keeps_its_widths(text: str) -> None:
    plain = to_ascii(text)
    assert plain.isascii()
    assert width_of(words(plain)) == width_of(words(text)) or not text.isprintable()


def test_curves_are_seen_without_unicode() -> None:
    (segment,) = AsciiFilter().apply([Segment("⣿⠀ █ —")], Color(0, 0, 0))
    assert segment.text == "#  # -"


def test_a_picture_has_what_is_seen_and_nothing_that_breaks_it() -> None:
    drawn = picture([words(("<a & b>", ink.BAD), "  ", ("held", ink.CURSOR))], 20)
    assert "&lt;a &amp; b&gt;" in drawn
    assert drawn.count("<rect") == 2
    assert drawn.startswith("<svg")


@pytest.mark.parametrize("kind", bars.KINDS)
def test_every_source_of_tokens_has_a_pattern_of_its_own(kind: bars.Kind) -> None:
    assert [other.pattern for other in bars.KINDS].count(kind.pattern) == 1
    assert bars.kind_of(kind.name) is kind
