"""What stands over a screen for a moment: help, a few lines to fill in, and a question before something is changed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from appliance.tui import ink
from appliance.tui.line import Line, cell, words
from appliance.tui.widgets.drawing import Drawing

_CSS = """
{name} {{ align: center middle; }}
{name} > VerticalScroll {{
    width: {width}; max-width: 96%; height: auto; max-height: 90%; border: round ansi_cyan; padding: 0 1;
}}
{name} Drawing {{ height: auto; }}
"""


class Help(ModalScreen[None]):
    """Keys and words of what is seen."""

    CSS = _CSS.format(name="Help", width=76)
    BINDINGS: ClassVar[list[Any]] = [("escape,q,question_mark", "dismiss", "close")]

    def __init__(self, title: str, about: str, keys: Sequence[tuple[str, str, str]]) -> None:
        """`keys`: key, what it does, its id."""
        super().__init__()
        self._title = title
        self._about = about
        self._keys = keys

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._title
            box.border_subtitle = "esc"
            yield Static(inspect.cleandoc(self._about) + "\n", markup=False)
            lines = [key_line(*one) for one in self._keys]
            drawing = Drawing(id="keys")
            drawing.draw(lambda _width, _height: lines)
            drawing.styles.height = len(lines)
            yield drawing


def key_line(key: str, does: str, name: str) -> Line:
    return words((cell(key, 12), ink.NAME), cell(does, 40), (name, ink.QUIET))


class Ask(ModalScreen[str]):
    """One line of text; `hint` says what it may be."""

    CSS = _CSS.format(name="Ask", width=50)
    BINDINGS: ClassVar[list[Any]] = [("escape", "dismiss", "close")]

    def __init__(self, question: str, hint: str) -> None:
        super().__init__()
        self._question = question
        self._hint = hint

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._question
            box.border_subtitle = "enter · esc"
            yield Input(placeholder=self._hint, compact=True)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class Form(ModalScreen[list[str] | None]):
    """Lines of text to fill in, each with its label; `error` says what was wrong with them, `errors` what with each, by
    its place. Ends with the texts, or `None`."""

    CSS = _CSS.format(name="Form", width=76) + "Form .error { color: ansi_red; }"
    BINDINGS: ClassVar[list[Any]] = [
        ("escape", "dismiss(None)", "close"),
        Binding("down", "app.focus_next", "next", show=False),
        Binding("up", "app.focus_previous", "previous", show=False),
    ]

    def __init__(
        self,
        question: str,
        lines: Sequence[tuple[str, str, str]],
        error: str | None = None,
        errors: Mapping[int, str] | None = None,
    ) -> None:
        """`lines`: label, text, and what an empty one means."""
        super().__init__()
        self._question = question
        self._lines = lines
        self._error = error
        self._errors = errors or {}

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False) as box:
            box.border_title = self._question
            box.border_subtitle = "enter · esc" if len(self._lines) == 1 else "tab · enter · esc"
            for place, (label, text, empty) in enumerate(self._lines):
                yield Static(label, markup=False)
                # Above its line: that is scrolled to, and what is below it may not be seen.
                if place in self._errors:
                    yield Static(self._errors[place], markup=False, classes="error")
                yield Input(text, placeholder=empty, compact=True)
            if self._error is not None:
                yield Static(self._error, markup=False, classes="error")

    def on_mount(self) -> None:
        self.query(Input)[min(self._errors, default=0)].focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss([one.value for one in self.query(Input)])


class Confirm(ModalScreen[bool]):
    """A question, with what would follow. `yes` is the key that agrees."""

    CSS = _CSS.format(name="Confirm", width=72)
    BINDINGS: ClassVar[list[Any]] = [Binding("escape,n,q", "dismiss(False)", "no")]

    def __init__(self, question: str, impact: str, yes: str = "y") -> None:
        super().__init__()
        self._question = question
        self._impact = impact
        self._bindings.bind(yes, "dismiss(True)", "yes", key_display=yes)
        self._yes = yes

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._question
            box.border_subtitle = f"{self._yes.partition(',')[0]} yes · esc no"
            yield Static(self._impact, markup=False)
