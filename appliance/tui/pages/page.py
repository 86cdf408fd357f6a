"""What all screens of the console have in common."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widget import Widget

from appliance.tui.frame import Feed, Wanted
from appliance.tui.line import Line
from appliance.tui.moment import Moment
from appliance.tui.widgets.drawing import Drawing
from appliance.tui.widgets.table import Table


class Page(Vertical):
    """One screen, reached by a digit. Its docstring is its help."""

    title: ClassVar[str]
    feeds: ClassVar[frozenset[Feed]] = frozenset()
    listening: ClassVar[type[Widget] | None] = Table
    """What keys go to first."""
    DEFAULT_CSS = "Page { height: 1fr; padding: 0 1; }"

    @classmethod
    def own_bindings(cls) -> list[Binding]:
        """Those that no other screen need have: the page's, and those of what keys go to."""
        kinds: list[type[Widget]] = [one for one in cls.__mro__ if issubclass(one, Page)]
        kinds += [] if cls.listening is None else [cls.listening]
        return [one for kind in kinds for one in kind.__dict__.get("BINDINGS", ()) if isinstance(one, Binding)]

    def show(self, moment: Moment) -> None:
        """Draw this from now on."""
        raise NotImplementedError

    def wanted(self, at: float | None) -> Wanted:
        """What it shows, of now or of a time in the past."""
        return Wanted(self.feeds, at)

    def own_keys(self) -> Iterator[tuple[str, str]]:
        """Those of its keys that do something now, with what they do, for the footer."""
        return iter(())

    def table(self) -> Table | None:
        """The list that keys and the filter work on."""
        return next(iter(self.query(Table)), None)

    @property
    def filter_text(self) -> str:
        table = self.table()
        return "" if table is None else table.filter_text

    def filter(self, text: str) -> None:
        """Show only what fits. Raises `FilterError`. No-op for a page without a list."""
        table = self.table()
        if table is not None:
            table.filter(text)

    def can_filter(self) -> bool:
        return self.table() is not None

    def focus_list(self) -> None:
        """Have keys go to the list, or to the console itself."""
        table = self.table()
        if table is not None:
            table.focus()
        else:
            self.screen.set_focus(None)

    def back(self) -> None:
        """Close what was opened. No-op where nothing is."""


class DrawnPage(Page):
    """A page of one piece, which a function draws."""

    listening = None

    def compose(self) -> ComposeResult:
        yield Drawing(id="drawing")

    def show(self, moment: Moment) -> None:
        self.query_one(Drawing).draw(partial(self.lines, moment))

    def lines(self, moment: Moment, width: int, height: int) -> list[Line]:
        raise NotImplementedError
