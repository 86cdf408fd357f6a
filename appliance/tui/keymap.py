"""Every key of the console, with an id under which it can be given another key."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding
from textual.keys import _character_to_key

from appliance.errors import SettingsError, nearest

PAGE_KEYS: Final = "1234567890"

PAST: Final = [
    Binding("left_square_bracket", "travel(-10)", "ten seconds back", id="past.back", key_display="["),
    Binding("right_square_bracket", "travel(10)", "ten seconds on", id="past.on", key_display="]"),
    Binding("left_curly_bracket", "travel(-60)", "a minute back", id="past.minute-back", key_display="{"),
    Binding("right_curly_bracket", "travel(60)", "a minute on", id="past.minute-on", key_display="}"),
    Binding("S", "seek", "go to a time", id="past.seek"),
    Binding("L", "live", "back to now", id="past.live"),
    Binding("X", "incident", "write what happened around this second", id="past.incident"),
]

CONSOLE: Final = [
    Binding("question_mark,f1", "help", "help", id="console.help", key_display="?"),
    Binding("q", "leave", "leave", id="console.leave"),
    Binding("Q", "stop_box", "stop the box", id="console.stop"),
    Binding("slash", "filter", "filter", id="console.filter", key_display="/"),
    Binding("escape", "back", "back", id="console.back", key_display="esc"),
    Binding("space", "freeze", "freeze", id="console.freeze", key_display="space"),
    Binding("plus", "slower", "slower", id="console.slower", key_display="+"),
    Binding("minus", "faster", "faster", id="console.faster", key_display="-"),
    Binding("e", "expand", "expand", id="console.expand"),
    Binding("y", "copy", "copy as Markdown", id="console.copy"),
    Binding("w", "write_csv", "write CSV", id="console.csv"),
    Binding("ctrl+s", "picture", "write a picture", id="console.picture"),
    Binding("ctrl+c", "interrupt", "leave", id="console.interrupt", priority=True),
]

TABLE: Final = [
    Binding("down,j", "move(1)", "down", id="table.down", key_display="j"),
    Binding("up,k", "move(-1)", "up", id="table.up", key_display="k"),
    Binding("home,g", "first", "first", id="table.first", key_display="g"),
    Binding("end,G", "last", "last", id="table.last", key_display="G"),
    Binding("pagedown,ctrl+f", "pages(1)", "a page down", id="table.page-down"),
    Binding("pageup,ctrl+b", "pages(-1)", "a page up", id="table.page-up"),
    Binding("s", "sort", "sort by the next column", id="table.sort"),
    Binding("r", "reverse", "turn the order round", id="table.reverse"),
    Binding("enter", "open", "open", id="table.open", key_display="enter"),
]


def on_screens() -> dict[str, list[Binding]]:
    """All bindings that hold on each screen, by its title. Loads the screens."""
    from appliance.tui.pages.catalogue import PAGES

    pages = [Binding(key, "page", id=f"page.{key}") for key in PAGE_KEYS]
    return {page.title: [*CONSOLE, *PAST, *pages, *page.own_bindings()] for page in PAGES.values()}


def checked(keymap: dict[str, str]) -> dict[str, str]:
    """With the names of keys, such as `question_mark` for `?`. Raises `SettingsError` for an id that there is not, and
    for a key that would do two things on one screen."""
    screens = on_screens()
    known = {binding.id for bindings in screens.values() for binding in bindings if binding.id is not None}
    for name in keymap:
        if name not in known:
            meant = nearest(name, known)
            raise SettingsError(f"--key {name}: no such binding; " + (f"did you mean {meant}?" if meant else "see ?"))
    named = {name: ",".join(_named(key) for key in keys.split(",")) for name, keys in keymap.items()}
    for title, bindings in screens.items():
        _refuse_doubles(title, bindings, named)
    return named


def _refuse_doubles(title: str, bindings: list[Binding], keymap: dict[str, str]) -> None:
    """Those that have their own keys may hide one another: so they were made."""
    does: dict[str, Binding] = {}
    for binding in sorted(bindings, key=lambda one: one.id in keymap):
        for key in keymap.get(binding.id or "", binding.key).split(","):
            other = does.setdefault(key, binding)
            if other.id != binding.id and binding.id in keymap:
                raise SettingsError(
                    f"--key {binding.id}={key}: on {title} it is already the key of {other.id}, {other.description}; "
                    f"take another, or give {other.id} another too"
                )


def _named(key: str) -> str:
    """A character's key as Textual calls it."""
    return _character_to_key(key) if len(key) == 1 else key
