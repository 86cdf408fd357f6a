"""The start of a box, with scripted keys and a scripted box; and the keys themselves on a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import termios
from collections.abc import Callable, Iterator, Sequence

import pytest
from rich.console import Console

from appliance.api.views import BoxStatus
from appliance.control import Control
from appliance.errors import NotRunning
from appliance.tui import live
from appliance.tui.ending import Ending
from appliance.tui.live import watch
from tests.unit.api.scripted import ScriptedBox

RUNNING = ScriptedBox().status()
STARTING = ScriptedBox(phase="startup").status()


class ScriptedControl(Control):
    """Answers one status after the other, the last one again and again; `None` does not answer."""

    def __init__(self, statuses: Sequence[BoxStatus | None]) -> None:
        self._statuses = list(statuses)

    def get(self, route: str) -> object:
        assert route == "/box/v1/status"
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status is None:
            raise NotRunning("no box answers")
        return status.model_dump()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is drawn."""
    output = io.StringIO()
    monkeypatch.setattr(live, "Console", lambda: Console(file=output, force_terminal=True, width=100))
    return output


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO) -> Callable[[str], None]:
    """Sets the keys, one a frame; a space is no key."""

    def press(keys: str) -> None:
        waiting = iter(keys)

        @contextlib.contextmanager
        def scripted() -> Iterator[Callable[[float], str]]:
            yield lambda _seconds: next(waiting).strip(" ")

        monkeypatch.setattr(live, "_keys", scripted)

    return press


@pytest.mark.parametrize(("key", "ending"), [("q", Ending.LEAVE), ("Q", Ending.STOP), ("\x03", Ending.STOP)])
def test_each_key_ends_as_it_says(press: Callable[[str], None], key: str, ending: Ending) -> None:
    press(f" x {key}")
    assert watch(ScriptedControl([STARTING]), lambda: True) is ending


def test_a_box_that_neither_answers_nor_lives_has_ended(press: Callable[[str], None]) -> None:
    press("    ")
    assert watch(ScriptedControl([STARTING, None]), lambda: False) is Ending.BOX_ENDED


def test_a_box_that_lives_may_take_its_time_to_answer(press: Callable[[str], None], screen: io.StringIO) -> None:
    press("   ")
    assert watch(ScriptedControl([None, None, RUNNING]), lambda: True) is None
    assert "no answer yet" in screen.getvalue()


def test_how_to_connect_is_told_once_and_only_when_it_runs(press: Callable[[str], None], screen: io.StringIO) -> None:
    press(" q")
    watch(ScriptedControl([STARTING]), lambda: True)
    assert "is ready" not in screen.getvalue()
    press("    q")
    assert watch(ScriptedControl([STARTING, RUNNING]), lambda: True) is None
    assert screen.getvalue().count("dynamo-box is ready") == 1


def test_the_keys_are_explained(press: Callable[[str], None], screen: io.StringIO) -> None:
    press("q")
    watch(ScriptedControl([STARTING]), lambda: True)
    assert "q leave, the box keeps running" in screen.getvalue()
    assert "Ctrl-C stop the box" in screen.getvalue()


def test_keys_are_read_one_by_one_ctrl_c_among_them_and_the_terminal_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as fingers, os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(terminal)
        with live._keys() as read_key:
            fingers.write(b"q\x03")
            assert [read_key(5.0), read_key(5.0), read_key(0.0)] == ["q", "\x03", ""]
        assert termios.tcgetattr(terminal) == before


def test_without_a_keyboard_no_key_is_ever_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("q"))
    with live._keys() as read_key:
        assert read_key(0.0) == ""
