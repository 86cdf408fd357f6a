"""6 Policy: what is kept and for how long, as rules and as TOML; checked while it is written, compared, applied."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.events import Resize
from textual.widgets import TextArea

from appliance.api.policy_views import PolicyBody, PolicyCheck, PolicyDiff, PolicyVersionView
from appliance.api.whatif_views import WhatIfJob
from appliance.toml_document import TomlError
from appliance.tui import figures, ink
from appliance.tui.frame import Feed
from appliance.tui.line import Line, clean, heading, words
from appliance.tui.models.policies import ActivePolicy, RuleLine, active_policy, diff_lines, draft_lines, problem_text
from appliance.tui.moment import Moment
from appliance.tui.pages.policy_lines import below, diff_line
from appliance.tui.pages.prediction import Prediction
from appliance.tui.pages.rules import RulesPage
from appliance.tui.widgets.drawing import Draw, Drawing
from appliance.tui.widgets.grid import Column, Row
from appliance.tui.widgets.table import Table

COLUMNS = (
    Column("rule", 20, rank=1),
    Column("when", 0, least=24),
    Column("worth", 12, right=True),
    Column("tiers", 10, rank=2),
    Column("rest", 5, rank=3),
)
WIDE: Final = 110
CHECK_SECONDS: Final = 0.4
PROGRESS_SECONDS: Final = 0.5
TOLD_LINES: Final = 9


class PolicyPage(RulesPage):
    """The active policy: at the left its rules, of which the first that matches decides; at the right its text.
    `enter` shows a rule as a form, `n` adds one below, `D` removes it, `J` and `K` move it: all of it is done to the
    text, whose comments stay. `i` edits the text itself, which is checked while you write, with line and key; esc
    leaves it as it is. `d` compares it with the active policy, `p` replays the last half hour with it, `a` makes it the
    active one after a question, for all that is cached too; `z` throws the edit away, `u` goes back to the policy
    before. Nothing is dropped by a change. Below: the versions that were active, what was predicted of each, and what
    it realised. In the past: the version that was active then, and those before it."""

    title = "Policy"
    feeds = frozenset({Feed.POLICY, Feed.VERSIONS})
    BINDINGS: ClassVar[list[Any]] = [
        Binding("i", "edit", "edit the text", id="policy.edit"),
        Binding("d", "diff", "compare with the active one", id="policy.diff"),
        Binding("a", "apply", "make it the active one", id="policy.apply"),
        Binding("u", "undo", "go back to the one before", id="policy.undo"),
        Binding("p", "predict", "what it would have done with the last half hour", id="policy.predict"),
        Binding("z", "reset", "throw the edit away", id="policy.reset"),
    ]
    DEFAULT_CSS = """
    PolicyPage Horizontal { height: 1fr; }
    PolicyPage Table { width: 1fr; }
    PolicyPage TextArea { width: 1fr; height: 1fr; border: none; padding: 0; background: ansi_default; }
    PolicyPage #head { height: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 – textual calls it so
        super().__init__(id=id)
        self._active: ActivePolicy | None = None
        self._is_past = False
        self._versions: tuple[PolicyVersionView, ...] = ()
        self._edited_from: str | None = None
        """The text that was active when the edit began; `None`: nothing is edited."""
        self._told: Draw | None = None
        self._job: str | None = None
        """The replay that runs."""

    def compose(self) -> ComposeResult:
        yield Drawing(id="head")
        with Horizontal():
            yield Table(COLUMNS, empty="no policy is known")
            yield TextArea(read_only=True, show_line_numbers=True, soft_wrap=False, theme="css", compact=True)
        yield Drawing(id="told")

    @property
    def text(self) -> str:
        return self.query_one(TextArea).text

    @property
    def is_edited(self) -> bool:
        return self._edited_from is not None

    def show(self, moment: Moment) -> None:
        model = active_policy(moment.frame)
        if model is None:
            return
        self._versions = moment.frame.versions or ()
        area = self.query_one(TextArea)
        if not self.is_edited and area.text != model.toml:
            area.load_text(model.toml)
        self._active, self._is_past = model, moment.frame.past_of is not None
        if not self.is_edited:
            self.query_one(Table).show(rows(model.rules))
        self._show_state()

    def _show_state(self) -> None:
        """What is edited, and what was said of it."""
        if self._active is not None:
            head = self._head(self._active)
            self.query_one("#head", Drawing).draw(lambda _width, _height: [head])
        told = self.query_one("#told", Drawing)
        has_curves = isinstance(self._told, Prediction) and self._told.has_curves
        told.styles.height = max(TOLD_LINES, self.size.height // 2) if has_curves else TOLD_LINES
        told.draw(partial(below, self._told, self._versions))
        self.console_app.show_chrome()

    def _head(self, model: ActivePolicy) -> Line:
        if not self.is_edited:
            return head_line(model)
        moved = not self._is_past and self._edited_from != model.toml
        return head_line(model, "  edited" + (", and another became active meanwhile" if moved else ""))

    def on_resize(self, event: Resize) -> None:
        self._arrange(event.size.width)
        self._show_state()

    def _arrange(self, width: int) -> None:
        """Where there is no room for both, the text takes the place of the rules while it is edited."""
        is_writing = not self.query_one(TextArea).read_only
        self.query_one(Table).display = width >= WIDE or not is_writing
        self.query_one(TextArea).display = width >= WIDE or is_writing

    def own_keys(self) -> Iterator[tuple[str, str]]:
        if not self.query_one(TextArea).read_only:
            yield "esc", "stop writing"
            return
        if self._is_past:
            return
        yield from (("enter", "rule"), ("i", "edit"))
        if self.is_edited:
            yield from (("d", "diff"), ("p", "predict"), ("a", "apply"))
        elif len(self._versions) > 1:
            yield "u", "undo"

    def back(self) -> None:
        if self.query_one(TextArea).read_only and self._job is not None:
            self._give_up(self._job)
        self._write(is_writing=False)

    def _write(self, *, is_writing: bool) -> None:
        area = self.query_one(TextArea)
        area.read_only = not is_writing
        self._arrange(self.size.width)
        area.focus() if is_writing else self.focus_list()
        self._show_state()

    def action_edit(self) -> None:
        if self._active is not None and self.may_change():
            if not self.is_edited:
                self._edited_from = self._active.toml
            self._write(is_writing=True)

    def edit(self, text: str) -> None:
        if self._active is None:
            return
        if not self.is_edited:
            self._edited_from = self._active.toml
        area = self.query_one(TextArea)
        area.replace(text, (0, 0), area.document.end)
        self._show_draft()
        self._show_state()

    def action_reset(self) -> None:
        if self._active is not None:
            self._edited_from = self._told = None
            self.query_one(TextArea).load_text(self._active.toml)
            self.query_one(Table).show(rows(self._active.rules))
            self._show_state()

    def on_text_area_changed(self) -> None:
        if self.is_edited:
            self._show_draft()
            self._check()

    def _show_draft(self) -> None:
        """The rules of the edited text; those that were shown stay while it is none."""
        with suppress(ValueError, TomlError):
            self.query_one(Table).show(rows(draft_lines(self.text)))

    @work(exclusive=True, group="check")
    async def _check(self) -> None:
        """Once the user has stopped typing for a moment."""
        await asyncio.sleep(CHECK_SECONDS)
        if not self.is_edited:
            return
        check = await self.ask("POST", "/box/v1/policy/validate", self._asked(), PolicyCheck)
        if check is None or not self.is_edited:
            return
        self._tell(
            [words(("✓ ", ink.GOOD), f"valid, {figures.plural(check.rules or 0, 'rule')}")]
            if check.valid
            else [words(("✗ ", ink.BAD), clean(problem_text(one))) for one in check.problems]
        )

    def _tell(self, lines: list[Line]) -> None:
        self._told = lambda width, _height: [heading("the edited text", width), *lines]
        self._show_state()

    def asked(self, text: str) -> dict[str, Any]:
        return {"text": text, "name": self._active.name if self._active is not None else "edited"}

    def _asked(self) -> dict[str, Any]:
        return self.asked(self.text)

    @work(exclusive=True)
    async def action_diff(self) -> None:
        diff = await self._compared()
        if diff is not None:
            self._tell([diff_line(line) for line in diff_lines(diff)])

    async def _compared(self) -> PolicyDiff | None:
        return await self.ask("POST", "/box/v1/policy/diff", self._asked(), PolicyDiff)

    @work(exclusive=True, group="predict")
    async def action_predict(self) -> None:
        """Replay the last half hour with the edited text; esc gives it up."""
        asked = self._asked() | {"by": "console"}
        job = await self.ask("POST", "/box/v1/whatif", asked, WhatIfJob)
        while job is not None:
            self._job = job.id if job.state in ("waiting", "running") else None
            self._told = Prediction(job)
            self._show_state()
            if self._job is None:
                return
            await asyncio.sleep(PROGRESS_SECONDS)
            job = await self.ask("GET", f"/box/v1/whatif/{job.id}", None, WhatIfJob)

    @work(exclusive=True, group="cancel")
    async def _give_up(self, job: str) -> None:
        await self.ask("DELETE", f"/box/v1/whatif/{job}", None, WhatIfJob)

    @work(exclusive=True)
    async def action_apply(self) -> None:
        if not self.is_edited or not self.may_change():
            return
        diff = await self._compared()
        if diff is None or not await self.confirmed(f"Apply {diff.name}?", "\n".join(diff_lines(diff)[:20])):
            return
        applied = await self.ask("PUT", "/box/v1/policy", self._asked() | {"author": "console"}, PolicyBody)
        if applied is not None:
            self._edited_from = self._told = None
            self._show_state()
            self.tell(f"{applied.name} is active, version {applied.version}; u goes back")

    @work(exclusive=True)
    async def action_undo(self) -> None:
        if len(self._versions) < 2 or not self.may_change():
            return
        before = next((one for one in self._versions if one.toml != self._versions[0].toml), self._versions[1])
        realised = (
            f"It realised {figures.share(before.hit_rate)} of its {figures.short(before.prompt_tokens)} prompt tokens."
        )
        if await self.confirmed(f"Back to {before.name}, version {before.version}?", realised):
            body = {"version": before.version, "author": "console"}
            applied = await self.ask("POST", "/box/v1/policy/rollback", body, PolicyBody)
            if applied is not None:
                self.action_reset()
                self.tell(f"{applied.name} is active again, as version {applied.version}")


def head_line(model: ActivePolicy, state: str = "") -> Line:
    return words(
        (clean(model.name), ink.STRONG),
        (state, ink.WARN),
        (f"  version {model.version}, order {model.order}", ink.QUIET),
        ("   " + clean(model.description), ink.QUIET),
    )


def rows(rules: list[RuleLine]) -> list[Row]:
    return [
        Row(one.key, (one.rule, one.when, one.worth, one.tiers, "caps" if one.caps_rest else None)) for one in rules
    ]
