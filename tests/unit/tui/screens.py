"""Consoles in tests: fed by hand, at a fixed time, and their screens as text and as pictures."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import msgspec
from rich.segment import Segment
from textual.pilot import Pilot

from appliance.tui.console import Console
from appliance.tui.ending import Ending
from appliance.tui.errands import Errands
from appliance.tui.frame import Frame, Wanted
from appliance.tui.line import text_of
from appliance.tui.picture import picture
from appliance.tui.stance import Stance
from tests.unit.tui import example_box

SIZES = ((80, 24), (120, 36), (200, 50))
PAST_SECONDS = 700


@cache
def frames_before(seconds: int) -> tuple[Frame, ...]:
    """What led to `example_box.frame()`, as far as curves need it."""
    places = range(-seconds, 0)
    return tuple(Frame(at=example_box.NOW + one, status=example_box.status(one)) for one in places)


class StillSource:
    """Always the same frame; takes note of what was asked for."""

    def __init__(self, frame: Frame) -> None:
        self.shown = frame
        self.asked: list[Wanted] = []
        self.is_closed = False

    def frame(self, wanted: Wanted) -> Frame:
        self.asked.append(wanted)
        return self.shown

    def close(self) -> None:
        self.is_closed = True


class ScriptedErrands:
    """Answers by method and route, in turn where there are several, or raises them; notes what was sent."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = {route: list(said) if isinstance(said, list) else [said] for route, said in answers.items()}
        self.sent: list[tuple[str, Any]] = []
        self.is_closed = False

    async def send(self, method: str, route: str, body: Any) -> bytes:
        self.sent.append((f"{method} {route}", body))
        said = self._answers[f"{method} {route}"]
        answer = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(answer, Exception):
            raise answer
        return msgspec.json.encode(answer)

    def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def console(
    size: tuple[int, int] = (80, 24),
    *,
    frame: Frame | None = None,
    past: int = 0,
    errands: Errands | None = None,
    **stance: Any,
) -> AsyncIterator[tuple[Console, Pilot[Ending]]]:
    """One that has seen so many seconds of `example_box`, and shows its frame of now, or another."""
    shown = example_box.frame() if frame is None else frame
    app = Console(StillSource(shown), errands or ScriptedErrands({}), Stance(**stance), is_polling=False)
    async with app.run_test(size=size) as pilot:
        for before in frames_before(past):
            app.trail.add(before)
        app.take(shown)
        await pilot.pause()
        yield app, pilot


@contextmanager
def universal_time() -> Iterator[None]:
    """The clock on the screens is the machine's own."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def lines_of(app: Console) -> list[list[Segment]]:
    # Textual offers a picture of its screen and no text of it.
    return [list(strip) for strip in app.screen._compositor.render_strips()]


def text(app: Console) -> str:
    return "\n".join(text_of(line).rstrip() for line in lines_of(app))


async def page_picture(key: str, size: tuple[int, int]) -> str:
    with universal_time():
        async with console(size, past=PAST_SECONDS, can_stop=True) as (app, pilot):
            await pilot.press(key)
            await pilot.pause()
            return picture(lines_of(app), size[0])
