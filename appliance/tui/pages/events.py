"""7 Events: what happens in the box, the newest first."""

from __future__ import annotations

from functools import partial

from textual.app import ComposeResult

from appliance.tui import ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, clean, heading, words, wrapped
from appliance.tui.models.events import EventBook, EventLine, event_lines
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import clock_of
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("time", 8, clock_of),
    Column("kind", 16),
    Column("count", 5, lambda value: "" if value == 1 else f"×{value:,}", right=True, rank=1),
    Column("what", 0, least=50),
    Column("session", 20, rank=2),
    Column("request", 20, rank=3),
)
_LEVELS = {"info": ink.PLAIN, "watch": ink.WARN, "bad": ink.BAD}


class EventsPage(Page):
    """What happens in the box, the newest first. A filter such as kind:evicted, session:claude or count>10 shows a part
    of it. What comes too fast to tell one by one is grouped, and what was lost is said."""

    title = "Events"
    feeds = frozenset({Feed.EVENTS, Feed.EVICTIONS})

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS, empty="nothing has happened since this console looks")
        yield Drawing(id="detail")

    def on_mount(self) -> None:
        self.query_one(Drawing).styles.height = 4
        self._book = EventBook()
        self._events: dict[str, EventLine] = {}

    def show(self, moment: Moment) -> None:
        # The past is another list: it has its own beginning.
        is_now = moment.frame.past_of is None
        events = self._book.lines(moment.frame) if is_now else event_lines(moment.frame)
        self._events = {one.key: one for one in events}
        self.query_one(Table).show(rows(events))
        self._show_detail()

    def on_table_moved(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        row = self.query_one(Table).row
        event = None if row is None else self._events.get(row.key)
        self.query_one(Drawing).draw(partial(_detail, event))


def rows(events: list[EventLine]) -> list[Row]:
    return [
        Row(one.key, (one.at, one.kind, one.count, one.words, one.session, one.request), style=_LEVELS[one.level])
        for one in events
    ]


def _detail(event: EventLine | None, width: int, _height: int) -> list[Line]:
    """The whole of what a row may have cut."""
    if event is None:
        return []
    named = [("session", event.session), ("request", event.request), ("worker", event.worker)]
    names = "  ".join(f"{name} {value}" for name, value in named if value is not None)
    said = [words((part, _LEVELS[event.level])) for part in wrapped(clean(event.words), width)[:2]]
    return [heading(event.kind, width), *said, words((clean(names), ink.QUIET))]
