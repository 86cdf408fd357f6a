"""5 Prefixes: what sessions share, and where they go apart."""

from __future__ import annotations

from textual.app import ComposeResult

from appliance.tui import bars, figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, words
from appliance.tui.models.prefixes import PrefixLine, PrefixTree, prefix_tree
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import count_of, share_of, short_of
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("prefix", 0, least=18),
    Column("from", 8, count_of, right=True),
    Column("tokens", 7, short_of, right=True),
    Column("sessions", 8, count_of, right=True),
    Column("region", 10, rank=2),
    Column("cached", 6, share_of, right=True, rank=1),
    Column("on", 5, rank=3),
)


class PrefixesPage(Page):
    """The last prompts of the sessions that asked last, as a tree: a row is a run of tokens that all below it have in
    common, and where rows of one depth stand under another, their prompts go apart. Cached: how much of the row is in
    the cache of the worker that has most of it. Filter by a session's name to see its way."""

    title = "Prefixes"
    feeds = frozenset({Feed.PREFIXES})

    def compose(self) -> ComposeResult:
        yield Drawing(id="totals")
        yield Table(COLUMNS, empty="no prompt is known yet")

    def on_mount(self) -> None:
        self.query_one("#totals").styles.height = 1

    def show(self, moment: Moment) -> None:
        model = prefix_tree(moment.frame)
        if model is not None:
            self.query_one("#totals", Drawing).draw(lambda _width, _height: [_totals(model)])
            self.query_one(Table).show(rows(model))


def rows(model: PrefixTree) -> list[Row]:
    return [_row(one) for one in model.lines]


def _row(one: PrefixLine) -> Row:
    more = "" if one.sessions <= len(one.names) else f" and {one.sessions - len(one.names)} more"
    most = max(one.resident.values(), default=0)
    workers = ",".join(worker for worker, tokens in sorted(one.resident.items()) if tokens) or None
    share = most / one.tokens if one.tokens else None
    values = (", ".join(one.names) + more, one.start_token, one.tokens, one.sessions, one.region, share, workers)
    return Row(one.key, values, indent=one.depth, style=ink.STRONG if one.sessions > 1 else ink.PLAIN)


def _totals(model: PrefixTree) -> Line:
    bar = bars.stacked([bars.Part(model.shared or 0.0, "█", ink.GPU)], 20, 1.0)
    listed = f"{model.sessions:,} of {model.known:,} sessions   "
    text = f"   {figures.short(model.distinct_tokens)} of {figures.short(model.prompt_tokens)} prompt tokens differ   "
    return [*words(listed), *bar, *words(f" {figures.share(model.shared)} shared", (text, ink.QUIET))]
