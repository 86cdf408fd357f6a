"""2 Sessions: who has what in which tier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Final, NamedTuple

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding

from appliance.api.hint_views import HintAnswer
from appliance.errors import BoxError
from appliance.tui import figures, ink
from appliance.tui.chart import sparkline
from appliance.tui.errands import answered
from appliance.tui.frame import Feed
from appliance.tui.line import Line, clean, words
from appliance.tui.models.requests import running
from appliance.tui.models.sessions import TURNS, SessionLine, Sessions, session_tree
from appliance.tui.moment import Moment
from appliance.tui.pages.cancelling import cancel
from appliance.tui.pages.hint_fields import FIELDS, chosen
from appliance.tui.pages.steering import SteeringPage
from appliance.tui.widgets.cells import by_share, seconds_of, share_of, short_of, warn_if_any
from appliance.tui.widgets.dialogs import Form
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("session", 0, least=18),
    Column("client", 12, rank=4),
    Column("state", 9, style=lambda value: ink.GOOD if value == "running" else ink.PLAIN),
    Column("turns", 5, short_of, right=True, rank=2),
    Column("prompt", 6, short_of, right=True),
    Column("gpu", 5, short_of, right=True),
    Column("on", 5, rank=5),
    Column("host", 5, short_of, right=True),
    Column("last", 5, share_of, right=True, style=by_share),
    Column("recent", TURNS, lambda value: str(value or ""), rank=3, style=lambda _: ink.GPU),
    Column("claims", 10, lambda value: str(value or ""), rank=1, style=lambda _: ink.NAME),
    Column("lacks", 5, short_of, right=True, style=warn_if_any),
    Column("takes", 6, seconds_of, right=True, style=warn_if_any),
)


class Hint(NamedTuple):
    key: str
    verb: str
    words: str


HINTS: Final = (
    Hint("p", "pin", "keep its blocks for a time"),
    Hint("x", "release", "let its blocks go first for a time"),
    Hint("t", "ttl", "keep its blocks for a time after each use"),
    Hint("i", "priority", "how important its requests are"),
    Hint("f", "prefetch", "read its last prompt into a cache"),
    Hint("d", "turn_finished", "nothing more will come of it"),
)
ESTIMATE: Final = "/box/v1/hints?dry_run=true"


class SessionsPage(SteeringPage):
    """Leads with their subagents below them, the one used last first. Prompt: what it asked last, in tokens; gpu and
    host: how much of it is there by who used a block last; lacks: what is in neither and has to be computed when it
    comes back; takes: for how long. Last and recent: the share of its last prompts that was read. Claims: hints that
    hold, else how long until the next of the policy's claims on its blocks ends. Sorting gives up the tree.

    A hint says what is to become of a session's blocks. You say for how long and how much; before it is given you see
    what that comes to. `K` ends its requests that are under way."""

    title = "Sessions"
    feeds = frozenset({Feed.SESSIONS, Feed.CACHE, Feed.HINTS, Feed.REQUESTS})

    BINDINGS: ClassVar[list[Any]] = [
        *(Binding(hint.key, f"hint('{hint.verb}')", hint.words, id=f"sessions.{hint.verb}") for hint in HINTS),
        Binding("K", "cancel", "cancel its requests that are under way", id="sessions.cancel"),
    ]

    def compose(self) -> ComposeResult:
        yield Drawing(id="totals")
        yield Table(COLUMNS, empty="no session yet")

    def on_mount(self) -> None:
        self.query_one("#totals").styles.height = 1
        self._active: dict[str, list[str]] = {}

    def show(self, moment: Moment) -> None:
        model = session_tree(moment.frame)
        if model is None:
            return
        self._active = running(moment.frame)
        self.query_one("#totals", Drawing).draw(lambda _width, _height: [_totals(model)])
        self.query_one(Table).show(rows(model))

    def own_keys(self) -> Iterator[tuple[str, str]]:
        if self.query_one(Table).row is not None and not self.console_app.stance.is_read_only:
            yield from ((hint.key, hint.verb.replace("_", " ")) for hint in HINTS[:3])

    @work(exclusive=True)
    async def action_hint(self, verb: str) -> None:
        row = self.query_one(Table).row
        if row is None or not self.may_change():
            return
        question = clean(f"{verb.replace('_', ' ')} {row.key}?")
        weighed = await self._weighed(question, {"verb": verb, "session": row.key, "by": "console"})
        if weighed is None:
            return
        asked, estimate = weighed
        if not await self.confirmed(question, _impact(estimate)):
            return
        given = await self.ask("POST", "/box/v1/hints", asked, HintAnswer)
        if given is not None:
            self.tell(given.effect or "done")

    @work(exclusive=True)
    async def action_cancel(self) -> None:
        row = self.query_one(Table).row
        if row is None or not self.may_change():
            return
        requests = self._active.get(row.key)
        if not requests:
            self.notify(clean(f"{row.key} has no request under way"), markup=False)
            return
        await cancel(self, requests, clean(f"cancel {figures.plural(len(requests), 'request')} of {row.key}?"))

    async def _weighed(self, question: str, asked: dict[str, Any]) -> tuple[dict[str, Any], HintAnswer] | None:
        """The hint with what the user chose of it, and what it comes to. What is wrong with the choice is said where it
        is made, as often as it takes; `None` when they give up."""
        fields = FIELDS[asked["verb"]]
        if not fields:
            estimate = await self.ask("POST", ESTIMATE, asked, HintAnswer)
            return None if estimate is None else (asked, estimate)
        texts: list[str] | None = [field.default for field in fields]
        error = None
        while texts is not None:
            lines = [(field.label, text, field.optional or "") for field, text in zip(fields, texts, strict=True)]
            texts = await self.app.push_screen_wait(Form(question, lines, error))
            if texts is None:
                break
            try:
                whole = asked | chosen(fields, texts)
                return whole, await answered(self.console_app.errands, "POST", ESTIMATE, whole, HintAnswer)
            except BoxError as wrong:
                error = wrong.message
        return None


def _impact(answer: HintAnswer) -> str:
    """In the box's words, with who would lose by it."""
    losers = answer.impact.displaced_sessions or []
    named = ", ".join(losers[:5]) + (f" and {len(losers) - 5} more" if len(losers) > 5 else "")
    lasts = "" if answer.hint is None else f"\nIt ends after {figures.seconds(answer.hint.remaining_seconds)}."
    return clean(answer.impact.text) + (f"\nGo sooner: {clean(named)}." if named else "") + lasts


def rows(model: Sessions) -> list[Row]:
    return [_row(one) for one in model.sessions]


def _row(one: SessionLine) -> Row:
    values = (
        one.session,
        _product(one.client),
        one.state,
        one.turns,
        one.prompt_tokens,
        one.gpu_tokens,
        ",".join(map(str, one.workers)) or None,
        one.host_tokens,
        one.last_share,
        sparkline(one.rates, TURNS) if one.rates else None,
        _claims(one),
        one.lacking_tokens,
        one.prefill_seconds,
    )
    return Row(one.session, values, indent=one.depth, style=ink.QUIET if one.state == "finished" else ink.PLAIN)


def _product(client: str | None) -> str | None:
    """What a user agent calls itself, without its version."""
    return None if client is None else re.split(r"[/ (]", client, maxsplit=1)[0] or client


def _claims(one: SessionLine) -> str | None:
    if one.hints:
        return ", ".join(one.hints)
    return None if one.claim_seconds is None else figures.seconds(one.claim_seconds)


def _totals(model: Sessions) -> Line:
    running = sum(one.state == "running" for one in model.sessions)
    listed = f", {len(model.sessions):,} listed" if len(model.sessions) < model.total else ""
    return words(
        (f"{model.total:,}", ink.STRONG),
        f" sessions{listed}, {running:,} running   ",
        ("—" if model.warm is None else f"about {model.warm:,}", ink.STRONG),
        " stay warm at this size",
        (f"   they lack {figures.short(sum(one.lacking_tokens for one in model.sessions))} tokens", ink.QUIET),
    )
