"""Curves with axes, as plotext draws them."""

from __future__ import annotations

from appliance.plots import Axis, Curve, even_ticks, plot

HALF = [(float(place), 0.5) for place in range(10)]


def test_a_plot_is_as_large_as_was_asked_and_says_its_axes() -> None:
    lines = plot(
        [Curve("hits", HALF)], Axis("minutes", 0.0, 9.0, [(0.0, "then"), (9.0, "now")]), Axis("share"), 150, 30
    )
    assert len(lines) == 30
    assert {len(line) for line in lines} == {150}
    assert all(word in "\n".join(lines) for word in ("minutes", "share", "then", "now"))


def test_several_curves_are_told_apart_without_colour() -> None:
    other = [(place, 0.9) for place, _ in HALF]
    lines = plot([Curve("mine", HALF), Curve("theirs", other)], Axis("x"), Axis("y"), 60, 12)
    drawn = "\n".join(lines[:-1])
    assert lines[-1] == "a mine   b theirs"
    assert (drawn.count("a") > 20, drawn.count("b") > 20, "\x1b" in drawn) == (True, True, False)
    assert "\x1b[38;5;" in "".join(plot([Curve("mine", HALF)], Axis("x"), Axis("y"), 60, 12, is_coloured=True))


def test_what_is_unknown_interrupts_a_curve_and_is_never_drawn() -> None:
    broken = Curve("a", [(place, None if 2 < place < 7 else 0.5) for place, _ in HALF])
    whole, cut = (
        "".join(plot([one, Curve("", [])], Axis("x"), Axis("y", 0.0, 1.0), 60, 12)[:-1]).count("a")
        for one in (Curve("a", HALF), broken)
    )
    assert 10 < cut < whole - 10
    assert plot([broken, Curve("nobody", [(1.0, None)])], Axis("x"), Axis("y"), 60, 12)[-1].endswith(
        "b nobody (nothing known)"
    )


def test_even_ticks_hold_both_ends() -> None:
    assert even_ticks(0.0, 9.0, 4) == [0.0, 3.0, 6.0, 9.0]
