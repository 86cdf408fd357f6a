"""2 Sessions: who has what in which tier."""

from __future__ import annotations

from textual.app import ComposeResult

from appliance.tui import figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, words
from appliance.tui.models.sessions import SessionLine, Sessions, session_tree
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import short_of, warn_if_any
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("session", 0, least=24),
    Column("state", 9, style=lambda value: ink.GOOD if value == "running" else ink.PLAIN),
    Column("prompt", 7, short_of, right=True),
    Column("gpu", 7, short_of, right=True),
    Column("on", 5, rank=2),
    Column("host", 7, short_of, right=True),
    Column("lacking", 7, short_of, right=True, rank=1, style=warn_if_any),
)


class SessionsPage(Page):
    """Leads with their subagents below them, the one used last first. Prompt: what it asked last, in tokens; gpu and
    host: how much of it is there by who used a block last; lacking: what is in neither and has to be computed when it
    comes back. Sorting gives up the tree."""

    title = "Sessions"
    feeds = frozenset({Feed.SESSIONS, Feed.CACHE})

    def compose(self) -> ComposeResult:
        yield Drawing(id="totals")
        yield Table(COLUMNS, empty="no session yet")

    def on_mount(self) -> None:
        self.query_one("#totals").styles.height = 1

    def show(self, moment: Moment) -> None:
        model = session_tree(moment.frame)
        if model is None:
            return
        self.query_one("#totals", Drawing).draw(lambda _width, _height: [_totals(model)])
        self.query_one(Table).show(rows(model))


def rows(model: Sessions) -> list[Row]:
    return [_row(one) for one in model.sessions]


def _row(one: SessionLine) -> Row:
    workers = ",".join(map(str, one.workers)) or None
    return Row(
        one.session,
        (one.session, one.state, one.prompt_tokens, one.gpu_tokens, workers, one.host_tokens, one.lacking_tokens),
        indent=one.depth,
        style=ink.QUIET if one.state == "finished" else ink.PLAIN,
    )


def _totals(model: Sessions) -> Line:
    running = sum(one.state == "running" for one in model.sessions)
    listed = f", {len(model.sessions):,} listed" if len(model.sessions) < model.total else ""
    return words(
        (f"{model.total:,}", ink.STRONG),
        f" sessions{listed}, {running:,} running   ",
        ("—" if model.warm is None else f"about {model.warm:,}", ink.STRONG),
        " of this size stay warm at this capacity",
        (f"   lacking {figures.short(sum(one.lacking_tokens for one in model.sessions))} tokens", ink.QUIET),
    )
