"""The console: ten screens over one box, and what its keys do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.segment import Segment
from textual import work
from textual.app import SystemCommand
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input

from appliance.errors import BoxError
from appliance.tui import keymap
from appliance.tui.ending import Ending
from appliance.tui.incident import incident, write_new
from appliance.tui.pages.catalogue import PAGES
from appliance.tui.past import moment_of
from appliance.tui.picture import picture
from appliance.tui.shell import Shell
from appliance.tui.take_away import file_for, screen_as_markdown, table_as_csv, table_as_markdown
from appliance.tui.widgets.dialogs import Ask, Confirm, Help


class Console(Shell):
    """Ends with what the user wants to become of the box."""

    BINDINGS: ClassVar[list[Any]] = [
        *keymap.CONSOLE,
        *keymap.PAST,
        *(
            Binding(key, f"page('{key}')", f"{PAGES[key].title}", id=f"page.{key}", show=False)
            for key in keymap.PAGE_KEYS
            if key in PAGES
        ),
    ]

    def action_freeze(self) -> None:
        """The display, not the collection."""
        self.is_frozen = not self.is_frozen
        self.show_chrome() if self.is_frozen else self._show(self.frame)

    def action_travel(self, seconds: int) -> None:
        """From what is shown; past now there is nothing."""
        now = self.frame.past_of or self.frame.at
        at = (self.past_at or self._shown.at) + seconds
        self._go_to(None if at >= now else at)

    def action_live(self) -> None:
        self._go_to(None)

    def action_seek(self) -> None:
        self.push_screen(Ask("Go to", "14:05, 14:05:30, -90s, -10m, -2h"), self._seek)

    def _seek(self, text: str | None) -> None:
        if not text:
            return
        now = self.frame.past_of or self.frame.at
        at = moment_of(text, now)
        if at is None:
            self.notify(f"{text}: no time; 14:05, 14:05:30, -90s, -10m and -2h are", severity="warning", markup=False)
        else:
            self._go_to(None if at >= now else at)

    def _go_to(self, at: float | None) -> None:
        self.past_at = at
        self.is_frozen = False
        self.poller.hurry()

    @work(exclusive=True, group="incident")
    async def action_incident(self) -> None:
        """Of the second that is shown, into a file that was not there."""
        try:
            path = write_new(Path.cwd(), await incident(self.errands, self._shown.at))
        except (BoxError, OSError) as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            self.notify(f"written: {path}", markup=False)

    def action_slower(self) -> None:
        self.poller.slower()
        self.show_chrome()

    def action_faster(self) -> None:
        self.poller.faster()
        self.show_chrome()

    def action_expand(self) -> None:
        if self.screen.maximized is not None:
            self.screen.minimize()
        elif self.focused is not None:
            self.screen.maximize(self.focused)

    async def action_back(self) -> None:
        """One step: out of what is expanded, of the filter, of what the page has opened."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        elif self._page is not None and self.query_one("#filter", Input).display:
            self._page.filter("")
            self._show_filter("")
            self._page.focus_list()
        elif self._page is not None:
            self._page.back()

    def action_help(self) -> None:
        if self._page is None:
            return
        bindings = self._bindings_of(self.screen)
        keys = [(self.get_key_display(one), one.description, one.id or "") for one in bindings]
        self.push_screen(Help(self._page.title, type(self._page).__doc__ or "", keys))

    def _bindings_of(self, screen: Screen[Any]) -> Iterator[Binding]:
        """Of its focused widget and of the console, each once."""
        seen = set()
        for _, binding, _enabled, _tooltip in screen.active_bindings.values():
            if binding.id and binding.id not in seen:
                seen.add(binding.id)
                yield binding

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        for key, page in PAGES.items():
            yield SystemCommand(
                f"{page.title} ({key})", (page.__doc__ or "").partition("\n")[0], partial(self._go, key)
            )
        for binding in self._bindings_of(screen):
            if not (binding.id or "").startswith("page."):
                name = f"{binding.description} ({self.get_key_display(binding)})"
                yield SystemCommand(name.capitalize(), binding.id or "", partial(self.run_action, binding.action))
        yield SystemCommand("Theme", "other colours", self.action_change_theme)

    async def _go(self, key: str) -> None:
        await self.action_page(key)

    def action_copy(self) -> None:
        """To the terminal's clipboard: the list, or the whole screen where there is none."""
        table = None if self._page is None else self._page.table()
        self.copy_to_clipboard(screen_as_markdown(self._lines()) if table is None else table_as_markdown(table))
        self.notify("copied as Markdown", timeout=3)

    def action_write_csv(self) -> None:
        table = None if self._page is None else self._page.table()
        if table is None:
            self.notify("there is no list on this screen", severity="warning", timeout=3)
        else:
            self._write("csv", table_as_csv(table))

    def action_picture(self) -> None:
        self._write("svg", picture(self._lines(), self.size.width))

    def _lines(self) -> list[list[Segment]]:
        # Textual makes pictures of its screen and offers no lines of it.
        return [list(strip) for strip in self.screen._compositor.render_strips()]  # noqa: SLF001

    def _write(self, ending: str, text: str) -> None:
        path = file_for(PAGES[self._page_key].title, ending)
        try:
            path.write_text(text)
        except OSError as error:
            self.notify(f"{path}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"written: {path}", markup=False)

    def action_leave(self) -> None:
        self.exit(Ending.LEAVE)

    def action_interrupt(self) -> None:
        """Who started the box here would leave half of it behind by habit: they are asked."""
        self.action_stop_box() if self.stance.can_stop else self.action_leave()

    def action_stop_box(self) -> None:
        if isinstance(self.screen, Confirm):
            self.screen.dismiss(True)
        elif self.stance.can_stop:
            self.push_screen(Confirm("Stop the box?", self._impact_of_stop(), "y,Q"), self._stop)

    def _impact_of_stop(self) -> str:
        status = self.frame.status
        active = 0 if status is None else status.requests.active
        first = f"{active} running requests are let finish." if active else "No request is running."
        kept = "\nWhat is on disk is kept." if status is not None and status.disk is not None else ""
        return f"{first}\nWhat is in the memory of GPUs and of this machine is lost.{kept}"

    def _stop(self, agreed: bool | None) -> None:
        if agreed:
            self.exit(Ending.STOP)
