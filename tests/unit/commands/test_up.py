"""`up` without a terminal serves or tells; in one it starts a process, shows it, and does as the user says."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.api.views import BoxStatus
from appliance.commands import serve, stop, up
from appliance.runtime import Runtime
from appliance.tui import live, session
from appliance.tui.ending import Ending
from appliance.tui.stance import Stance
from tests.unit.commands.answering_box import ENDPOINT, status
from tests.unit.commands.conftest import Place


@dataclass(slots=True)
class Terminal:
    """Stands in for the start view and the console: takes note and ends as told."""

    ending: Ending | None = Ending.LEAVE
    started: list[list[str]] = field(default_factory=list)
    alive: list[bool] = field(default_factory=list)
    script: str = "pass"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    stance: Stance | None = None
    """Of the console that was shown."""

    def watch(self, _control: object, is_alive: Callable[[], bool]) -> Ending | None:
        self.alive.append(is_alive())
        return self.ending

    def show_console(self, _where: Path, stance: Stance) -> Ending:
        self.stance = stance
        return Ending.LEAVE

    def spawn(self, line: list[str], **options: Any) -> subprocess.Popen[bytes]:
        self.started.append(line)
        process = subprocess.Popen([sys.executable, "-c", self.script], **options)
        self.processes.append(process)
        return process


@pytest.fixture
def terminal(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    stdout = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(up, "sys", SimpleNamespace(stdout=stdout, executable=sys.executable))
    monkeypatch.setattr(live, "watch", terminal.watch)
    monkeypatch.setattr(session, "show_console", terminal.show_console)
    streams = {"DEVNULL": subprocess.DEVNULL, "STDOUT": subprocess.STDOUT}
    monkeypatch.setattr(up, "subprocess", SimpleNamespace(Popen=terminal.spawn, **streams))
    yield terminal
    for process in terminal.processes:
        process.wait()


@pytest.fixture(autouse=True)
def _no_real_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(serve, "run")


def log_of(place: Place) -> Path:
    return place.home / ".local" / "share" / "dynamo-box" / "logs" / "box.log"


def test_without_a_terminal_it_tells_of_the_running_box(place: Place, box: Runtime) -> None:
    assert BoxStatus.model_validate(place.command("up", "--json").json) == status()
    answer = place.command("up")
    assert answer.code == 0
    assert "already running" in answer.out
    assert f"{ENDPOINT}/v1" in answer.out


def test_without_a_terminal_and_a_box_it_serves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "run", lambda options: int(options.port), raising=False)
    assert place.command("up", "--port", "9000").code == 9000


def test_in_a_terminal_it_starts_a_box_with_the_same_options(place: Place, terminal: Terminal) -> None:
    answer = place.command("up", "--set", "model.served_name=up", "--port", "9000")
    assert answer.code == 0
    assert "keeps running" in answer.out
    (line,) = terminal.started
    assert line[-5:] == ["serve", "--set", "model.served_name=up", "--port", "9000"]


def test_up_is_the_command_when_none_is_named(place: Place, terminal: Terminal) -> None:
    assert place.command("--port", "9000").code == 0
    assert terminal.started[0][-3:] == ["serve", "--port", "9000"]


def test_it_attaches_to_a_box_that_runs(place: Place, terminal: Terminal, box: Runtime) -> None:
    assert place.command("up").code == 0
    assert terminal.started == []
    assert terminal.alive == [True]


def test_a_box_that_takes_requests_is_shown_in_the_console_from_which_it_can_be_stopped(
    place: Place, terminal: Terminal, box: Runtime
) -> None:
    terminal.ending = None
    answer = place.command("up")
    assert "keeps running" in answer.out
    assert terminal.stance is not None
    assert terminal.stance.can_stop
    assert not terminal.stance.is_read_only
    assert terminal.stance.is_alive is not None
    assert terminal.stance.is_alive()


def test_the_user_may_stop_the_box(place: Place, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "run", lambda options: 17 if not options.now else 1)
    terminal.ending = Ending.STOP
    assert place.command("up").code == 17


def test_a_box_too_young_to_be_found_is_stopped_too(place: Place, terminal: Terminal) -> None:
    terminal.ending, terminal.script = Ending.STOP, "import time; time.sleep(60)"
    assert place.command("up").code == 0
    assert terminal.processes[0].returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('dynamo-box: port 80 is taken'); print('  hint'); raise SystemExit(1)", "port 80 is taken"),
        ("print('first'); print('Killed'); raise SystemExit(1)", "Killed"),
        ("raise SystemExit(1)", "the box ended without a word"),
    ],
)
def test_a_box_that_did_not_come_up_has_its_last_words_told(
    place: Place, terminal: Terminal, script: str, words: str
) -> None:
    terminal.ending, terminal.script = Ending.BOX_ENDED, script
    answer = place.command("up")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == f"dynamo-box: {words}"
    assert str(log_of(place)) in answer.err


def test_a_box_that_was_stopped_elsewhere_has_ended_in_order(place: Place, terminal: Terminal) -> None:
    terminal.ending = Ending.BOX_ENDED
    answer = place.command("up")
    assert (answer.code, answer.out, answer.err) == (0, "The box has ended.\n", "")


def test_a_box_attached_to_that_ends_does_not_keep_running(place: Place, terminal: Terminal, box: Runtime) -> None:
    terminal.ending = Ending.BOX_ENDED
    assert place.command("up").out == "The box has ended.\n"
