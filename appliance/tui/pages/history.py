"""0 History: the last minutes as curves, now or at any recorded moment; one of them large, with axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding

from appliance.tui import figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, heading, words
from appliance.tui.models.history import CURVES, HistoryCurve, history
from appliance.tui.moment import Moment
from appliance.tui.pages.curves import curve
from appliance.tui.pages.page import Page
from appliance.tui.pages.plots import history_plot
from appliance.tui.plotted import plotted
from appliance.tui.widgets.drawing import FocusedDrawing

MARGIN: Final = 6
SHOWN: Final[dict[str, Callable[[float | None], str]]] = {"share": figures.share, "ms": figures.milliseconds}


class HistoryPage(Page):
    """The last minutes as curves; `enter` or `v` shows the one that is marked alone, with axes, drawn anew each second.
    Every screen works at any second that the box has recorded: `[` and `]` go ten seconds back and on, `{` and `}` a
    minute, `S` to a time (14:05, -10m), `L` back to now. What was not recorded is said to be unknown. `X` writes the
    second that is shown and the minute around it to a file."""

    title = "History"
    feeds = frozenset[Feed]()
    BINDINGS: ClassVar[list[Any]] = [
        Binding("down,j", "mark(1)", "the next curve", id="history.next", key_display="j"),
        Binding("up,k", "mark(-1)", "the curve before", id="history.before", key_display="k"),
        Binding("enter,v", "large", "this curve alone, with axes", id="history.large", key_display="enter"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._marked = 0
        self._is_large = False
        self._moment: Moment | None = None
        self._plotted: tuple[tuple[int, int, int, int], list[Line]] | None = None
        """The last large curve, and what it was drawn for."""

    def compose(self) -> ComposeResult:
        yield FocusedDrawing(id="drawing")

    def focus_list(self) -> None:
        self.query_one(FocusedDrawing).focus()

    def own_keys(self) -> Iterator[tuple[str, str]]:
        yield ("esc", "all curves") if self._is_large else ("enter", "large")

    def show(self, moment: Moment) -> None:
        self._moment = moment
        drawing = self.query_one(FocusedDrawing)
        if self._is_large:
            drawing.draw(partial(self._large, moment))
        else:
            drawing.draw(partial(history_lines, moment, marked=self._marked))

    def back(self) -> None:
        self._turn(is_large=False)

    def action_large(self) -> None:
        self._turn(is_large=True)

    def action_mark(self, step: int) -> None:
        self._marked = (self._marked + step) % len(CURVES)
        self._turn(is_large=self._is_large)

    def _turn(self, *, is_large: bool) -> None:
        self._is_large = is_large
        if self._moment is not None:
            self.show(self._moment)

    def _large(self, moment: Moment, width: int, height: int) -> list[Line]:
        """A plot takes milliseconds: it is drawn anew where a second has passed, or for another curve or size."""
        wanted = (self._marked, int(moment.frame.at), width, height)
        if self._plotted is None or self._plotted[0] != wanted:
            self._plotted = wanted, large_lines(moment, self._marked, width, height)
        return self._plotted[1]


def large_lines(moment: Moment, marked: int, width: int, height: int) -> list[Line]:
    found = history(moment.samples, moment.step_seconds)
    if found is None:
        return [_head(moment, width), _nothing()]
    one = found[marked]
    head = heading(_title(one), width, _when(moment))
    return [head, *plotted(history_plot(one, width, height - 1, is_coloured=True))]


def history_lines(moment: Moment, width: int, height: int, marked: int | None = None) -> list[Line]:
    """As many curves as there is room for, four lines each at least; the marked one is among them."""
    head = _head(moment, width)
    steps, step = 2 * (width - MARGIN), moment.step_seconds
    found = history(moment.samples, step, steps)
    if found is None:
        return [head, _nothing()]
    return [head, *curve_lines(found, step, width, height - 1, marked)]


def curve_lines(
    found: list[HistoryCurve], step: float, width: int, height: int, marked: int | None = None
) -> list[Line]:
    room = min(max(height // 4, 1), len(found))
    first = max((marked or 0) - room + 1, 0)
    each = max(height // room, 2)
    span = f"{2 * (width - MARGIN) * step / 60:.0f} min"
    shown = list(enumerate(found))[first : first + room]
    return [line for place, one in shown for line in _drawn(one, span, width, each, is_marked=place == marked)]


def _head(moment: Moment, width: int) -> Line:
    return heading("history", width, _when(moment))


def _when(moment: Moment) -> str:
    at = figures.clock(moment.frame.said_at or moment.frame.at)
    return f"until {at}, in the past" if moment.frame.past_of is not None else f"until {at}, now"


def _nothing() -> Line:
    return words(("nothing has been seen or recorded of the minutes before", ink.QUIET))


def _title(one: HistoryCurve) -> str:
    """With its last value."""
    last = next((value for value in reversed(one.values) if value is not None), None)
    return f"{one.name} {SHOWN.get(one.unit, figures.short)(last)}"


def _drawn(one: HistoryCurve, span: str, width: int, height: int, *, is_marked: bool) -> list[Line]:
    top = one.high or max([value for value in one.values if value is not None], default=0.0) or 1.0
    mark = SHOWN.get(one.unit, figures.short)(top).replace(" ", "")
    title = ("▶ " if is_marked else "") + _title(one)
    return curve(title, one.values, top, mark, span, width, height)
