"""A console from its beginning to its end."""

from __future__ import annotations

import gc
from pathlib import Path

from appliance.tui.ending import Ending
from appliance.tui.link import Link
from appliance.tui.stance import Stance


def show_console(where: Path | str, stance: Stance, key: str | None = None, interval_seconds: float = 0.5) -> Ending:
    """Takes the terminal until the user leaves. `where` is a control socket or a URL; `key` opens the API of a box that
    has keys. Raises `SettingsError` for what is no URL."""
    link = Link(where, key)
    # Textual takes a fifth of a second to import: what is wrong above is said before.
    from appliance.tui.console import Console
    from appliance.tui.errands import LinkErrands
    from appliance.tui.machine import Machine
    from appliance.tui.source import BoxSource

    source = BoxSource(link, Machine() if link.is_local else None)
    console = Console(source, LinkErrands(Link(where, key)), stance)
    console.poller.interval_seconds = interval_seconds
    # What is loaded by now stays: looking through it again for garbage would take tens of milliseconds in a frame.
    gc.freeze()
    return console.run() or Ending.LEAVE
