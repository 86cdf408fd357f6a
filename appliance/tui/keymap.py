"""Every key of the console, with an id under which it can be given another key."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding

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


def ids() -> dict[str, str]:
    """Every id with its own keys."""
    return {binding.id: binding.key for binding in [*CONSOLE, *PAST, *TABLE] if binding.id is not None} | {
        f"page.{key}": key for key in PAGE_KEYS
    }


def checked(keymap: dict[str, str]) -> dict[str, str]:
    """Raises `SettingsError` for an id that there is not."""
    for name in keymap:
        if name not in ids():
            meant = nearest(name, ids())
            raise SettingsError(f"--key {name}: no such binding; " + (f"did you mean {meant}?" if meant else "see ?"))
    return keymap
