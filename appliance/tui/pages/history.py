"""0 History: the last minutes as curves, now or at any recorded moment."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from appliance.tui import figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, heading, words
from appliance.tui.moment import Moment
from appliance.tui.pages.curves import curve
from appliance.tui.pages.page import DrawnPage
from appliance.tui.trail import Sample, at_steps, growths, hit_rates

MARGIN = 6


class HistoryPage(DrawnPage):
    """The last minutes as curves. Every screen works at any second that the box has recorded: `[` and `]` go ten
    seconds back and on, `{` and `}` a minute, `S` to a time (14:05, -10m), `L` back to now. What was not recorded is
    said to be unknown. `X` writes the second that is shown and the minute around it to a file."""

    title = "History"
    feeds = frozenset[Feed]()

    def lines(self, moment: Moment, width: int, height: int) -> list[Line]:
        return history_lines(moment, width, height)


def history_lines(moment: Moment, width: int, height: int) -> list[Line]:
    """As many curves as there is room for, four lines each at least."""
    at = figures.clock(moment.frame.said_at or moment.frame.at)
    when = f"until {at}, in the past" if moment.frame.past_of is not None else f"until {at}, now"
    head = [heading("history", width, when)]
    if len(moment.samples) < 2:
        return [*head, words(("nothing has been seen or recorded of the minutes before", ink.QUIET))]
    steps, step = 2 * (width - MARGIN), moment.step_seconds
    span = f"{steps * step / 60:.0f} min"
    curves = [
        ("read from cache", hit_rates(moment.samples, step, steps), figures.share, 1.0),
        ("prompt tokens/s", _growth(moment, "prompt_tokens", steps), figures.short, None),
        ("generated tokens/s", _growth(moment, "completion_tokens", steps), figures.short, None),
        (
            "first token, p50",
            at_steps(moment.samples, step, steps, attrgetter("ttft_p50_ms")),
            figures.milliseconds,
            None,
        ),
        ("evicted blocks/s", _growth(moment, "evicted", steps), figures.short, None),
        ("requests at work", at_steps(moment.samples, step, steps, attrgetter("active")), figures.short, None),
        ("requests waiting", at_steps(moment.samples, step, steps, attrgetter("waiting")), figures.short, None),
    ]
    shown = curves[: max((height - 1) // 4, 1)]
    each = max((height - 1) // len(shown), 2)
    return [*head, *(line for one in shown for line in _drawn(*one, span, width, each))]


def _growth(moment: Moment, counter: str, steps: int) -> list[float | None]:
    def of(sample: Sample) -> int:
        return int(getattr(sample, counter))

    return growths(moment.samples, moment.step_seconds, steps, of)


def _drawn(
    title: str,
    values: list[float | None],
    show: Callable[[float | None], str],
    high: float | None,
    span: str,
    width: int,
    height: int,
) -> list[Line]:
    """Its last value stands in the title."""
    top = high if high is not None else max([one for one in values if one is not None], default=0.0) or 1.0
    last = next((one for one in reversed(values) if one is not None), None)
    return curve(f"{title} {show(last)}", values, top, show(top).replace(" ", ""), span, width, height)
