"""The warden: what it does when the supervisor dismisses it, dies, or is interrupted with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.process_tree import MARK, end_tree, members
from appliance.warden import ALL_WELL, Warden

LIMIT_SECONDS = 10

SUPERVISOR = f"""
import asyncio, os, subprocess
from appliance.warden import Warden

async def main(mark):
    os.environ["{MARK}"] = mark
    warden = Warden(mark)
    await warden.start()
    subprocess.Popen(["sleep", "60"])
    print("ready", flush=True)
    await asyncio.sleep(60)

import sys
asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def mark() -> Iterator[str]:
    mark = uuid.uuid4().hex
    yield mark
    end_tree(mark)


@pytest.fixture
def tree(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """One marked process."""
    with subprocess.Popen(["/usr/bin/env", "sleep", "60"], env=os.environ | {MARK: mark}) as process:
        yield process
        process.kill()


@pytest.fixture
def watching(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """The watching process over `mark`, its pipe open."""
    line = [sys.executable, "-m", "appliance.warden", mark]
    with subprocess.Popen(line, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


def nobody_is_left(mark: str) -> bool:
    """Asks again until time is up."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while members(mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not members(mark)


def test_a_dismissed_warden_kills_nothing(
    tree: subprocess.Popen[bytes], watching: subprocess.Popen[bytes], mark: str
) -> None:
    watching.communicate(ALL_WELL, timeout=LIMIT_SECONDS)
    assert watching.returncode == 0
    assert members(mark) == [tree.pid]


def test_a_closed_pipe_ends_the_tree(
    tree: subprocess.Popen[bytes], watching: subprocess.Popen[bytes], mark: str
) -> None:
    watching.communicate(timeout=LIMIT_SECONDS)
    assert watching.returncode == 0
    assert tree.wait(LIMIT_SECONDS) == -signal.SIGKILL
    assert members(mark) == []


def test_a_killed_supervisor_takes_its_tree_along(mark: str) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR, mark], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "ready\n"
        assert len(members(mark)) == 1
        supervisor.kill()
    assert nobody_is_left(mark)


async def test_the_warden_is_no_member_of_the_tree_it_ends(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, mark)
    warden = Warden(mark)
    await warden.start()
    assert warden.pid is not None
    assert warden.pid not in members(mark)
    await warden.dismiss()


async def test_a_dismissed_warden_is_gone_and_may_be_dismissed_again(mark: str) -> None:
    warden = Warden(mark)
    await warden.start()
    pid = warden.pid
    assert pid is not None
    await warden.dismiss()
    await warden.dismiss()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_warden_that_ends_is_started_again(mark: str) -> None:
    warden = Warden(mark)
    await warden.start()
    first = warden.pid
    assert first is not None
    watch = asyncio.create_task(warden.watch())
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(LIMIT_SECONDS):
        while warden.pid == first:
            await asyncio.sleep(0.01)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await warden.dismiss()


async def test_signals_to_a_whole_terminal_do_not_end_the_warden(tree: subprocess.Popen[bytes], mark: str) -> None:
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    line = [sys.executable, "-m", "appliance.warden", mark]
    process = await asyncio.create_subprocess_exec(*line, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    async with asyncio.timeout(LIMIT_SECONDS):
        while not ignores(process.pid, ignored):
            await asyncio.sleep(0.01)
    for number in ignored:
        process.send_signal(number)
    process.stdin.close()
    assert await process.wait() == 0
    assert tree.wait(LIMIT_SECONDS) == -signal.SIGKILL


def ignores(pid: int, numbers: tuple[signal.Signals, ...]) -> bool:
    """Whether a process has come so far as to ignore these signals."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return all(mask >> (number - 1) & 1 for number in numbers)
