"""The start of a box as it is watched: the status, drawn twice a second, until it takes requests."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from appliance.api.views import BoxStatus
from appliance.commands.banner import banner
from appliance.control import Control
from appliance.errors import NotRunning
from appliance.tui.ending import Ending
from appliance.tui.status_view import render

FRAME_SECONDS = 0.5


def watch(control: Control, is_alive: Callable[[], bool]) -> Ending | None:
    """Show a box until it takes requests, a key, or its end; `None`: it takes requests, and how to connect was printed.
    A box that is alive may not answer: it starts, ends or is busy."""
    console = Console()
    with _keys() as read_key, Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            status = _status(control)
            if status is None and not is_alive():
                return Ending.BOX_ENDED
            if status is not None and status.phase == "running":
                live.console.print(banner(status), highlight=False, soft_wrap=True)
                return None
            live.update(_screen(status), refresh=True)
            ending = _ENDINGS.get(read_key(FRAME_SECONDS))
            if ending is not None:
                return ending


# Ctrl-C arrives as a key, so that leaving by habit never leaves half a box behind.
_ENDINGS = {"q": Ending.LEAVE, "Q": Ending.STOP, "\x03": Ending.STOP}


def _screen(status: BoxStatus | None) -> RenderableType:
    body = Text("no answer yet …", style="yellow") if status is None else render(status)
    return Group(body, Text("\nq leave, the box keeps running   Q or Ctrl-C stop the box", style="dim"))


def _status(control: Control) -> BoxStatus | None:
    try:
        return BoxStatus.told(control.get("/box/v1/status"))
    except NotRunning:
        return None


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for one key, or gives an empty string when time is up."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[3] &= ~termios.ISIG
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    try:
        yield _read_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _read_key(timeout_seconds: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], timeout_seconds)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


def _no_key(timeout_seconds: float) -> str:
    time.sleep(timeout_seconds)
    return ""
