"""Stopping a box that is a process of its own, as it would be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from appliance.cli import parse
from appliance.commands import stop
from appliance.commands.context import read_context
from appliance.errors import BoxError
from appliance.runtime import Runtime
from tests.unit.commands.conftest import Place

# Ends at the number of signals it is told, and prints how many it got.
BOX = """
import os, signal, sys
from pathlib import Path
from appliance.runtime import BoxFile, Runtime
wanted = int(sys.argv[2])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
runtime = Runtime(Path(sys.argv[1]))
runtime.acquire()
runtime.write(BoxFile(os.getpid(), "nobody", "http://127.0.0.1:8000", "small", None, 0.0))
print("ready", flush=True)
for _ in range(wanted):
    signal.sigwait({signal.SIGTERM})
runtime.release()
"""


@pytest.fixture
def ends_at(request: pytest.FixtureRequest) -> int:
    """How many signals the box waits for."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def process(place: Place, ends_at: int) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", BOX, str(place.runtime), str(ends_at)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_json_tells_which_box_ended_and_how_long_it_took(place: Place, process: subprocess.Popen[str]) -> None:
    answer = place.command("stop", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["stopped"] == process.pid
    assert answer.json["seconds"] >= 0
    assert process.wait(10) == 0
    assert not Runtime(place.runtime).held()


def test_text_tells_how_long_it_took(place: Place, process: subprocess.Popen[str]) -> None:
    answer = place.command("stop")
    assert answer.code == 0
    assert answer.out.startswith("stopped in ")


@pytest.mark.parametrize("ends_at", [2], indirect=True)
def test_now_asks_twice(place: Place, process: subprocess.Popen[str]) -> None:
    assert place.command("stop", "--now").code == 0
    assert process.wait(10) == 0


@pytest.mark.parametrize("ends_at", [2], indirect=True)
def test_a_box_that_does_not_end_is_an_error_with_a_way_out(
    place: Place, process: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMO_BOX_SERVER__DRAIN_TIMEOUT", "0s")
    monkeypatch.setattr(stop, "GRACE_SECONDS", 0.0)
    answer = place.command("stop")
    assert answer.code == 1
    assert "did not end within 0 s" in answer.err
    assert "--now" in answer.err


def test_a_box_that_is_gone_before_the_signal_counts_as_stopped(place: Place, box: Runtime) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    context = read_context(parse(["stop"]))
    stop._signal(gone.pid)
    box.release()
    stop._wait(context.runtime, 0.0, quiet=True)


def test_waiting_tells_that_requests_are_running(
    place: Place, box: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(stop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None))
    with pytest.raises(BoxError, match="did not end within 8 s"):
        stop._wait(box, 8.0, quiet=False)
    assert capsys.readouterr().err.count("waiting for running requests") == 2
