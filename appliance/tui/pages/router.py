"""8 Router: each decision, its candidates with the parts of their cost, and what became of it."""

from __future__ import annotations

from functools import partial
from typing import Final

from textual.app import ComposeResult

from appliance.tui import bars, figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, cell, clean, heading, width_of, words
from appliance.tui.models.decisions import Candidate, Decision, Decisions, decisions
from appliance.tui.moment import Moment
from appliance.tui.pages.page import Page
from appliance.tui.widgets.cells import seconds_of, short_of, warn_if_any
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("age", 7, seconds_of, right=True),
    Column("request", 0, rank=1, least=12),
    Column("prompt", 7, short_of, right=True),
    Column("worker", 6, right=True),
    Column("reason", 6),
    Column("cost", 7, seconds_of, right=True),
    Column("expected", 8, short_of, right=True, rank=3),
    Column("cached", 7, short_of, right=True),
    Column("missed", 7, short_of, right=True, rank=2, style=warn_if_any),
    Column("wait", 7, seconds_of, right=True, rank=2),
    Column("regret", 7, seconds_of, right=True, style=warn_if_any),
)
PARTS: Final = ("prefill", "load", "queue", "decode", "crowding", "displacement", "other")
_PATTERNS: Final = "█▓▒░▚▞▪"
_STYLES: Final = (ink.COMPUTED, ink.HOST, ink.WARN, ink.GPU, ink.DISK, ink.BAD, ink.QUIET)


class RouterPage(Page):
    """The newest decision first. Cost: seconds until the first token that the router expects of the chosen worker, and
    what this does to others. Expected: prompt tokens that it thought to be cached there; cached: those that were.
    Missed: computed although a worker held them. Regret: how much sooner the first token would have come from
    the best worker, as known afterwards."""

    title = "Router"
    feeds = frozenset({Feed.ROUTING})

    def compose(self) -> ComposeResult:
        yield Drawing(id="totals")
        yield Table(COLUMNS, empty="no decision yet")
        yield Drawing(id="detail")

    def on_mount(self) -> None:
        self.query_one("#totals").styles.height = 1
        self.query_one("#detail").styles.height = "45%"
        self._decisions: dict[str, Decision] = {}

    def show(self, moment: Moment) -> None:
        model = decisions(moment.frame)
        if model is None:
            return
        self._decisions = {one.key: one for one in model.decisions}
        waiting = 0 if moment.frame.status is None else moment.frame.status.queue.waiting
        self.query_one("#totals", Drawing).draw(lambda _width, _height: [_totals(model, waiting)])
        self.query_one(Table).show(rows(model))
        self._show_detail()

    def on_table_moved(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        row = self.query_one(Table).row
        decision = None if row is None else self._decisions.get(row.key)
        self.query_one("#detail", Drawing).draw(partial(_detail, decision))


def rows(model: Decisions) -> list[Row]:
    return [Row(one.key, _values(one)) for one in model.decisions]


def _values(one: Decision) -> tuple[str | float | None, ...]:
    return (
        one.age_seconds,
        one.request,
        one.prompt_tokens,
        one.worker,
        one.reason,
        one.cost_seconds,
        one.expected_tokens,
        one.cached_tokens,
        one.missed_tokens,
        one.wait_seconds,
        one.regret_seconds,
    )


def _totals(model: Decisions, waiting: int) -> Line:
    failures = figures.plural(model.scorer_failures, "scorer failure")
    return words(
        (f"{model.total:,}", ink.STRONG),
        " decisions   ",
        (figures.share(model.regret_share), ink.STRONG),
        f" regretted, {figures.seconds(model.regret_seconds)} in all   ",
        f"{figures.short(model.missed_tokens)} tokens missed   {waiting:,} waiting",
        (f"   {failures}" if model.scorer_failures else "", ink.BAD),
    )


def _detail(decision: Decision | None, width: int, _height: int) -> list[Line]:
    if decision is None:
        return []
    # A bar for every candidate, all on one scale.
    scale = max([one.cost.total for one in decision.candidates], default=0.0)
    lines = [
        heading(f"{clean(decision.request or 'no request')}", width, f"{decision.prompt_tokens:,} prompt tokens"),
        words((clean(decision.why), ink.PLAIN)),
    ]
    for one in decision.candidates:
        lines += _candidate(one, scale, width)
    legend = [
        piece
        for name, pattern, style in zip(PARTS, _PATTERNS, _STYLES, strict=True)
        for piece in words((pattern, style), (f" {name}  ", ink.QUIET))
    ]
    return [*lines, legend]


def _candidate(one: Candidate, scale: float, width: int) -> list[Line]:
    sign = "▶" if one.is_chosen else "◆" if one.is_best else " "
    held = f"gpu {figures.short(one.held[0])}  host {figures.short(one.held[1])}  disk {figures.short(one.held[2])}"
    name = words(
        (f"{sign} worker {one.worker}", ink.STRONG if one.is_chosen else ink.PLAIN),
        f"  {figures.seconds(one.cost.total)}  ",
    )
    parts = [
        bars.Part(getattr(one.cost, part), pattern, style)
        for part, pattern, style in zip(PARTS, _PATTERNS, _STYLES, strict=True)
    ]
    bar = bars.stacked(parts, max(width - width_of(name), 0), scale or 1.0)
    tokens = [
        bars.Part(one.held[0], *bars.GPU[1:]),
        bars.Part(one.held[1], *bars.HOST[1:]),
        bars.Part(one.held[2], *bars.DISK[1:]),
        bars.Part(one.missing_tokens, *bars.COMPUTED[1:]),
    ]
    facts = f"  {held}  missing {figures.short(one.missing_tokens)}  {one.running} running  "
    facts += f"{figures.short(one.queued_tokens)} queued "
    room = max(width - len(facts), 0)
    return [[*name, *bar], [*words((cell(facts, min(len(facts), width)), ink.QUIET)), *bars.stacked(tokens, room)]]
