"""3 Requests: those under way; what of each prompt was read from where, and why the rest was not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding

from appliance.api.lint_views import Lint
from appliance.api.request_views import Why
from appliance.tui import figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, clean, heading, words
from appliance.tui.models.requests import RequestLine, request_lines
from appliance.tui.moment import Moment
from appliance.tui.pages.cancelling import cancel
from appliance.tui.pages.changing import LintDialog
from appliance.tui.pages.ranges import legend, prompt_bar, range_line
from appliance.tui.pages.steering import SteeringPage
from appliance.tui.pages.why import WhyDialog
from appliance.tui.widgets.cells import by_share, clock_of, seconds_of, share_of, short_of, warn_if_any
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

OUTCOMES: Final = {"finished": ink.PLAIN, "waiting": ink.WARN, "prefill": ink.GOOD, "decode": ink.GOOD}
COLUMNS = (
    Column("arrived", 8, clock_of),
    Column("session", 0, least=10),
    Column("turn", 4, right=True, rank=2),
    Column("prompt", 7, short_of, right=True),
    Column("cached", 6, share_of, right=True, style=by_share),
    Column("missed", 7, short_of, right=True, style=warn_if_any),
    Column("why", 14, lambda value: str(value or "").replace("_", " "), style=lambda _: ink.WARN),
    Column("out", 6, short_of, right=True, rank=1),
    Column("queued", 7, seconds_of, right=True, rank=3),
    Column("first", 7, seconds_of, right=True, rank=1),
    Column("total", 7, seconds_of, right=True, rank=2),
    Column("worker", 6, right=True, rank=4),
    Column("outcome", 8, style=lambda value: OUTCOMES.get(str(value), ink.BAD)),
    Column("client", 14, rank=5),
    Column("request", 22, rank=6),
)


class RequestsPage(SteeringPage):
    """Requests under way, then those that have ended, the newest first. Missed: tokens that could have been read
    and were computed; why: the reason of most of them. Below, the prompt under the cursor as a bar, in order. `enter`
    asks the box why: what was read from where, what was not and who is to blame, what can be done, and where its text
    left the one before. `c` asks what clients change from turn to turn, what that costs, and which rule is for it.
    `K` ends a request that is under way, after you saw what that comes to; its client is told so."""

    title = "Requests"
    feeds = frozenset({Feed.REQUESTS})

    BINDINGS: ClassVar[list[Any]] = [
        Binding("c", "lint", "what clients change each turn", id="requests.lint"),
        Binding("K", "cancel", "cancel one that is under way", id="requests.cancel"),
    ]

    def compose(self) -> ComposeResult:
        yield Table(COLUMNS, empty="no request yet")
        yield Drawing(id="detail")

    def on_mount(self) -> None:
        self.query_one(Drawing).styles.height = "30%"
        self._requests: dict[str, RequestLine] = {}

    def show(self, moment: Moment) -> None:
        if moment.frame.requests is None:
            return
        lines = request_lines(moment.frame)
        self._requests = {one.id: one for one in lines}
        self.query_one(Table).show(rows(lines))
        self._show_detail()

    def own_keys(self) -> Iterator[tuple[str, str]]:
        if self._requests:
            yield "enter", "why"
            yield "c", "changing"
        request = self._chosen()
        if request is not None and request.is_active and not self.console_app.stance.is_read_only:
            yield "K", "cancel"

    def on_table_moved(self) -> None:
        self._show_detail()

    def on_table_opened(self, event: Table.Opened) -> None:
        request = self._chosen()
        if request is not None and request.is_active:
            self.notify("it is under way: why is known once it has ended", markup=False)
        else:
            self._explain(event.row.key)

    @work(exclusive=True)
    async def _explain(self, request: str) -> None:
        why = await self.ask("GET", f"/box/v1/requests/{quote(request, safe='')}/why", None, Why)
        if why is not None:
            await self.app.push_screen(WhyDialog(why))

    @work(exclusive=True)
    async def action_lint(self) -> None:
        lint = await self.ask("GET", "/box/v1/lint", None, Lint)
        if lint is not None:
            await self.app.push_screen(LintDialog(lint))

    @work(exclusive=True)
    async def action_cancel(self) -> None:
        request = self._chosen()
        if request is None or not self.may_change():
            return
        if not request.is_active:
            self.notify("it has ended already", markup=False)
            return
        await cancel(self, [request.id], clean(f"cancel {request.id}?"))

    def _chosen(self) -> RequestLine | None:
        row = self.query_one(Table).row
        return None if row is None else self._requests.get(row.key)

    def _show_detail(self) -> None:
        self.query_one(Drawing).draw(partial(_detail, self._chosen()))


def rows(lines: list[RequestLine]) -> list[Row]:
    return [Row(one.id, _values(one), style=ink.BAD if one.outcome == "failed" else ink.PLAIN) for one in lines]


def _values(one: RequestLine) -> tuple[str | float | None, ...]:
    return (
        one.arrived_at,
        one.session,
        one.turn,
        one.prompt_tokens,
        one.share,
        one.missed_tokens,
        one.miss,
        one.completion_tokens,
        one.queued_seconds,
        one.first_token_seconds,
        one.total_seconds,
        one.worker,
        one.outcome,
        one.client,
        one.id,
    )


def _detail(request: RequestLine | None, width: int, height: int) -> list[Line]:
    if request is None:
        return []
    head = heading(clean(request.id), width, f"{request.prompt_tokens:,} tokens")
    if request.error is not None:
        return [head, words((clean(request.error), ink.BAD))]
    if request.is_active:
        return [head, *map(words, _so_far(request))]
    if not request.ranges:
        return [head, words((f"{request.outcome}: no engine has read it", ink.QUIET))]
    times = words(
        (f"queued {figures.seconds(request.queued_seconds)}, ", ink.QUIET),
        (f"first token after {figures.seconds(request.first_token_seconds)}, ", ink.QUIET),
        (f"all after {figures.seconds(request.total_seconds)}", ink.QUIET),
    )
    room = max(height - 4, 0)
    biggest = sorted(sorted(request.ranges, key=lambda one: -one.tokens)[:room], key=lambda one: one.start)
    return [head, prompt_bar(request.ranges, width), legend(request.ranges), *map(range_line, biggest), times]


def _so_far(request: RequestLine) -> list[str]:
    where = "no worker yet" if request.worker is None else f"worker {request.worker}"
    read = "not read yet" if request.cached_tokens is None else f"{request.cached_tokens:,} read from cache"
    waited = f"queued {figures.seconds(request.queued_seconds)}"
    first = (
        "" if request.first_token_seconds is None else f", first token {figures.seconds(request.first_token_seconds)}"
    )
    return [
        f"{request.outcome}, {where}, {figures.seconds(request.total_seconds)} old; {waited}{first}",
        f"prompt: {read}; {request.completion_tokens:,} tokens generated so far",
    ]
