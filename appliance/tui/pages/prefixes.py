"""5 Prefixes: what sessions share, what it says, and where they go apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from rich.cells import cell_len, chop_cells
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding

from appliance.api.prefix_views import MAX_SEARCH, Fork, Prefixes
from appliance.tui import bars, figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, cell, clean, heading, words
from appliance.tui.models.prefixes import PrefixLine, PrefixTree, Way, prefix_tree
from appliance.tui.moment import Moment
from appliance.tui.pages.forks import UNSHOWN, ForkDialog, SearchDialog, visible
from appliance.tui.pages.steering import SteeringPage
from appliance.tui.widgets.cells import count_of, share_of, short_of
from appliance.tui.widgets.dialogs import Ask
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
    Column("text", 36, rank=4),
)
SEARCHED: Final = 512
"""Sessions that are searched."""
NAME_CELLS: Final = 48


class PrefixesPage(SteeringPage):
    """The last prompts of the sessions that asked last, as a tree: a row is a run of tokens that all below it have
    in common, and where rows of one depth stand under another, their prompts go apart. Cached: how much of the row
    is in the cache of the worker that has most of it; less than a block is in none. Below, how the row under the
    cursor begins and ends, and how each goes on that comes from it. `enter` shows the fork to the token, side by
    side. `m` marks a session's row, and on another row shows where the two go apart. `f` searches in the text of
    all prompts; `/` filters the rows, by a session's name to see its way."""

    title = "Prefixes"
    feeds = frozenset({Feed.PREFIXES})
    BINDINGS: ClassVar[list[Any]] = [
        Binding("f", "search", "search in the text of prompts", id="prefixes.search"),
        Binding("m", "mark", "mark a session, or compare it with the marked one", id="prefixes.mark"),
    ]
    DEFAULT_CSS = """
    PrefixesPage #totals { height: 1; }
    PrefixesPage #detail { height: 30%; min-height: 6; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self.marked: str | None = None
        self._lines: dict[str, PrefixLine] = {}

    def compose(self) -> ComposeResult:
        yield Drawing(id="totals")
        yield Table(COLUMNS, empty="no prompt is known yet")
        yield Drawing(id="detail")

    def show(self, moment: Moment) -> None:
        model = prefix_tree(moment.frame)
        if model is not None:
            self._lines = {one.key: one for one in model.lines}
            self.query_one("#totals", Drawing).draw(lambda _width, _height: [_totals(model)])
            self.query_one(Table).show(rows(model))
            self._show_detail()

    def own_keys(self) -> Iterator[tuple[str, str]]:
        if self._lines:
            yield "f", "search"
            yield "enter", "fork"
            yield "m", "mark" if self.marked is None else "compare"

    def back(self) -> None:
        self._mark(None)

    def on_table_moved(self) -> None:
        self._show_detail()

    def on_table_opened(self, event: Table.Opened) -> None:
        line = self._lines.get(event.row.key)
        if line is None or len(line.sides) < 2:
            self.notify("one session has this to itself: nothing goes apart behind it", timeout=4)
        else:
            self._compare(line.sides)

    def action_mark(self) -> None:
        line = self._line
        if line is None:
            return
        name = line.names[0]
        if line.sessions > 1:
            self.notify("several sessions share this: mark a row of one of them", severity="warning", timeout=4)
        elif self.marked is None or self.marked == name:
            self._mark(None if self.marked == name else name)
        else:
            self._compare([self.marked, name])
            self._mark(None)

    @work(exclusive=True)
    async def action_search(self) -> None:
        if not self.is_now():
            return
        text = await self.console_app.push_screen_wait(Ask("Search in prompts", "words; case does not count"))
        if not text or not text.strip():
            return
        route = f"/box/v1/prefixes?limit={SEARCHED}&search={quote(text[:MAX_SEARCH], safe='')}"
        found = await self.ask("GET", route, None, Prefixes)
        if found is not None and found.search is not None:
            await self.app.push_screen(SearchDialog(found.search))

    @work(exclusive=True)
    async def _compare(self, sessions: Sequence[str]) -> None:
        if not self.is_now():
            return
        query = "&".join(f"session={quote(name, safe='')}" for name in sessions)
        fork = await self.ask("GET", f"/box/v1/prefixes/fork?{query}", None, Fork)
        if fork is not None:
            await self.app.push_screen(ForkDialog(fork))

    @property
    def _line(self) -> PrefixLine | None:
        row = self.query_one(Table).row
        return None if row is None else self._lines.get(row.key)

    def _mark(self, session: str | None) -> None:
        self.marked = session
        self._show_detail()
        self.console_app.show_chrome()

    def _show_detail(self) -> None:
        self.query_one("#detail", Drawing).draw(partial(_detail, self._line, self.marked))


def rows(model: PrefixTree) -> list[Row]:
    return [_row(one) for one in model.lines]


def _row(one: PrefixLine) -> Row:
    most = max(one.resident.values(), default=0)
    workers = ",".join(worker for worker, tokens in sorted(one.resident.items()) if tokens) or None
    share = most / one.tokens if one.tokens else None
    text = None if one.text is None else visible(one.text)
    values = (
        _names(one.names, one.sessions), one.start_token, one.tokens, one.sessions, one.region, share, workers, text
    )  # fmt: skip
    return Row(one.key, values, indent=one.depth, style=ink.STRONG if one.sessions > 1 else ink.PLAIN)


def _names(names: Sequence[str], sessions: int) -> str:
    return ", ".join(names) + ("" if sessions <= len(names) else f" and {sessions - len(names)} more")


def _totals(model: PrefixTree) -> Line:
    bar = bars.stacked([bars.Part(model.shared or 0.0, "█", ink.GPU)], 20, 1.0)
    listed = f"{model.sessions:,} of {model.known:,} sessions   "
    text = f"   {figures.short(model.distinct_tokens)} of {figures.short(model.prompt_tokens)} prompt tokens differ   "
    return [*words(listed), *bar, *words(f" {figures.share(model.shared)} shared", (text, ink.QUIET))]


def _detail(line: PrefixLine | None, marked: str | None, width: int, _height: int) -> list[Line]:
    """How the row begins and ends, and the ways from there."""
    if line is None:
        return []
    place = f"{line.start_token:,} … {line.start_token + line.tokens:,}"
    lines = [heading(clean(_names(line.names[:2], line.sessions)), width, place)]
    if marked is not None:
        lines.append(words((f"marked: {clean(marked)}; m on another session's row compares them", ink.NAME)))
    if line.text is None or line.ending is None:
        return [*lines, words((UNSHOWN, ink.QUIET))]
    lines.append(words(("begins  ", ink.QUIET), visible(line.text)))
    lines.append(words(("ends    ", ink.QUIET), _last(visible(line.ending), width - 8)))
    return lines + [_way(way, width) for way in line.ways]


def _last(text: str, width: int) -> str:
    """Its end, with … where something is missing."""
    return text if cell_len(text) <= width else "…" + chop_cells(text[::-1], max(width - 1, 1))[0][::-1]


def _way(way: Way, width: int) -> Line:
    name = cell(clean(_names(way.names[:1], way.sessions)), min(NAME_CELLS, width // 3))
    goes_on = words((visible(way.text), ink.STRONG)) if way.text else words(("ends", ink.QUIET))
    return [*words((f"  {name} ", ink.NAME)), *words(("│", ink.QUIET)), *goes_on]
