"""The frame around the screens: one page at a time, drawn from one frame a tick; title, banners, filter and footer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from rich.segment import Segment
from textual.app import App, ComposeResult
from textual.containers import Container
from textual.widgets import Input

from appliance.tui import keymap
from appliance.tui.banners import Banner, banners
from appliance.tui.chrome import Chrome, footer_line, title_line
from appliance.tui.ending import Ending
from appliance.tui.errands import Errands
from appliance.tui.filters import FilterError
from appliance.tui.frame import Frame, Wanted
from appliance.tui.line import wrapped
from appliance.tui.moment import Moment
from appliance.tui.pages.catalogue import PAGES, page_of
from appliance.tui.pages.page import Page
from appliance.tui.plain_screen import AsciiFilter
from appliance.tui.poller import Poller
from appliance.tui.source import Source
from appliance.tui.stance import Stance
from appliance.tui.trail import Trail
from appliance.tui.widgets.drawing import Drawing

MOST_BANNERS: Final = 4
"""Lines of them."""
MOST_FOOTER_ITEMS: Final = 7


class Shell(App[Ending]):
    """One page at a time, and the newest frame; keys are bound in `Console`. Ends with what the user wants to become of
    the box."""

    TITLE = "dynamo-box"
    ENABLE_COMMAND_PALETTE = True
    # Each page says what keys go to; a dialog that closes must not give them to the filter's line.
    AUTO_FOCUS = None
    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    #title, #banners, #footer { height: 1; padding: 0 1; }
    #banners { height: 0; }
    #page { height: 1fr; }
    #filter { height: 1; border: none; padding: 0 1; display: none; background: ansi_default; }
    """

    def __init__(self, source: Source, errands: Errands, stance: Stance, *, is_polling: bool = True) -> None:
        super().__init__()
        self.theme = stance.theme
        if stance.is_ascii:
            self._filters.append(AsciiFilter())
        self.set_keymap(dict(stance.keys))
        self.errands = errands
        self.stance = stance
        self.is_frozen = False
        self.trail = Trail()
        self.frame = Frame(at=time.time())
        """The newest."""
        self.past_at: float | None = None
        """The moment that is looked at; `None`: now."""
        self.poller = Poller(source, self._wanted, self.take)
        self._is_polling = is_polling
        self._shown = self.frame
        self._page: Page | None = None
        self._page_key = keymap.PAGE_KEYS[0]
        self._polling: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        yield Drawing(id="title")
        yield Drawing(id="banners")
        yield Container(id="page")
        yield Input(id="filter", placeholder="word  !word  column:word  column>10", compact=True)
        yield Drawing(id="footer")

    async def on_mount(self) -> None:
        await self.action_page(self._page_key)
        if self._is_polling:
            self._polling = asyncio.create_task(self.poller.run())

    async def on_unmount(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        self.errands.close()

    def take(self, frame: Frame) -> None:
        """A new frame: kept, and shown unless the display is frozen, or it is of another time than is wanted now."""
        if (frame.past_of is None) != (self.past_at is None) and frame.lost is None:
            return
        self.frame = frame
        self.trail.add(frame)
        if frame.lost and self.stance.is_alive is not None and not self.stance.is_alive():
            self.exit(Ending.BOX_ENDED)
        elif not self.is_frozen:
            self._show(frame)
        else:
            self.show_chrome()

    def _show(self, frame: Frame) -> None:
        self._shown = frame
        if self._page is not None:
            self._page.show(self.moment)
        self.show_chrome()

    @property
    def moment(self) -> Moment:
        """What is shown."""
        led = self._shown.samples
        return Moment(self._shown, self.trail.until(self._shown.at) if led is None else list(led))

    def _wanted(self) -> Wanted:
        return Wanted(frozenset(), self.past_at) if self._page is None else self._page.wanted(self.past_at)

    def show_chrome(self) -> None:
        """Title, banners and footer, as they are now."""
        chrome = Chrome(
            frame=self._shown,
            page_key=self._page_key,
            is_frozen=self.is_frozen,
            interval_seconds=self.poller.interval_seconds,
        )
        self.query_one("#title", Drawing).draw(lambda width, _height: [title_line(chrome, width)])
        retry = self.poller.pause_seconds if self.frame.lost else None
        told = banners(
            self.frame, is_read_only=self.stance.is_read_only, is_local=self.stance.is_local, retry_seconds=retry
        )
        self._show_banners(told)
        keys = list(self._footer())[:MOST_FOOTER_ITEMS]
        self.query_one("#footer", Drawing).draw(lambda width, _height: [footer_line(keys, width)])

    def _show_banners(self, told: list[Banner]) -> None:
        width = max(self.size.width - 4, 1)
        lines = [[Segment(f" {part} ", style)] for text, style in told for part in wrapped(text, width)][:MOST_BANNERS]
        drawing = self.query_one("#banners", Drawing)
        drawing.styles.height = len(lines)
        drawing.draw(lambda _width, _height: lines)

    def _footer(self) -> Iterator[tuple[str, str, str]]:
        """Key, word and action, the most useful now first."""
        yield "?", "help", "help"
        if self.past_at is not None:
            yield from (("[", "back", "travel(-10)"), ("]", "on", "travel(10)"), ("L", "now", "live"))
        if self.is_frozen:
            yield "space", "go on", "freeze"
        page = self._page
        if page is not None:
            yield from ((key, does, "") for key, does in page.own_keys())
            if page.can_filter():
                yield "/", "filter", "filter"
        if not self.is_frozen:
            yield "space", "freeze", "freeze"
        yield "^p", "commands", "command_palette"
        yield "q", "leave", "leave"
        if self.stance.can_stop:
            yield "Q", "stop the box", "stop_box"

    async def show_filtered(self, key: str, text: str) -> None:
        """A page with only what fits."""
        await self.action_page(key)
        if self._page is not None:
            self._page.filter(text)
            self._show_filter(text)

    async def action_page(self, key: str) -> None:
        """Pages are made when they are first seen, and stay as they were left."""
        if key not in PAGES:
            return
        holder = self.query_one("#page", Container)
        page = next((page for page in holder.query(Page) if page.id == f"page-{key}"), None)
        if page is None:
            page = page_of(key)
            await holder.mount(page)
        for other in holder.query(Page):
            other.display = other is page
        self._page, self._page_key = page, key
        page.show(self.moment)
        page.focus_list()
        self._show_filter(page.filter_text)
        self.show_chrome()
        self.poller.hurry()

    def action_filter(self) -> None:
        if self._page is not None and self._page.can_filter():
            line = self.query_one("#filter", Input)
            line.value = self._page.filter_text
            line.display = True
            line.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "filter" or self._page is None:
            return
        try:
            self._page.filter(event.value.strip())
        except FilterError as error:
            event.input.border_title = error.message
            self.notify(error.message, severity="warning", timeout=3)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter" and self._page is not None:
            self._page.focus_list()
            self._show_filter(self._page.filter_text)

    def _show_filter(self, text: str) -> None:
        line = self.query_one("#filter", Input)
        line.value = text
        line.display = bool(text)
