"""A real box in a real terminal: a conversation is sent, its hit is seen, the policy edited, an eviction seen, a hint
given, the past looked at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: no terminal to look at"),
]

MODEL = "smollm2-135m-instruct"
SYSTEM = "You answer in few words and name your sources, if there are any. " * 12
WAIT_SECONDS = 60.0


class Screen:
    """A console in a terminal of 120 by 36 cells."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self._tmux = ["tmux", "-L", name, "-f", "/dev/null"]
        line = f"{sys.executable} -m appliance.cli console; echo the console has ended; sleep 600"
        start = [*self._tmux, "new-session", "-d", "-x", "120", "-y", "36", "-s", "box", line]
        subprocess.run(start, env=environment, check=True, timeout=10)

    def text(self) -> str:
        line = [*self._tmux, "capture-pane", "-p", "-t", "box"]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=10).stdout

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", "-t", "box", *keys], check=True, timeout=10)

    def until(self, *words: str) -> str:
        """The screen once it has all of these."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            shown = self.text()
            if all(word in shown for word in words):
                return shown
            time.sleep(0.2)
        raise AssertionError(f"{words} were not seen within {WAIT_SECONDS:g} s:\n{self.text()}")

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=10)


class Box:
    def __init__(self, home: Path) -> None:
        self.environment = os.environ | {
            "DYNAMO_BOX_PATHS__RUNTIME": str(home / "run"),
            "DYNAMO_BOX_PATHS__DATA": str(home / "data"),
            "DYNAMO_BOX_CACHE__GPU__BYTES": "24MiB",
            "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "512",
            "TERM": "xterm-256color",
        }
        line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--workers", "1", "--json"]
        self._log = (home / "box.log").open("w")
        self.process = subprocess.Popen(line, env=self.environment, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline() or "{}")
        if "endpoint" not in told:
            self.close()
            raise AssertionError(f"the box did not start: {told}\n{(home / 'box.log').read_text()}")
        self.base = told["endpoint"]

    def ask(self, session: str, *questions: str) -> dict[str, Any]:
        """Turns of one conversation; the usage of the last."""
        messages: list[dict[str, str]] = [{"role": "system", "content": SYSTEM}]
        usage: dict[str, Any] = {}
        for question in questions:
            messages.append({"role": "user", "content": question})
            body = {"model": MODEL, "messages": messages, "max_tokens": 8, "temperature": 0}
            headers = {"x-session-id": session}
            answer = httpx.post(f"{self.base}/v1/chat/completions", json=body, headers=headers, timeout=120).json()
            messages.append(answer["choices"][0]["message"])
            usage = answer["usage"]
        return usage

    def has_recorded(self, session: str, seconds_ago: float) -> None:
        """Waits until it has a view of the session that is so old."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            at = time.time() - seconds_ago
            told = httpx.get(f"{self.base}/box/v1/cache/sessions/history", params={"at": at}, timeout=30).json()
            if session in [one["session"] for one in told.get("sessions", {}).get("sessions", [])]:
                return
            time.sleep(0.5)
        raise AssertionError(f"no view of {session} was recorded")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = Box(tmp_path_factory.mktemp("console"))
    yield box
    box.close()


@pytest.fixture
def screen(box: Box) -> Iterator[Screen]:
    screen = Screen(f"dynamo-box-test-{os.getpid()}", box.environment)
    yield screen
    screen.close()


def test_a_user_sees_the_cache_work_and_steers_it(box: Box, screen: Screen) -> None:
    screen.until("1 Overview", MODEL, "running")
    usage = box.ask("first", "Name a colour.", "Name another.")
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0
    screen.until("the last minute read")

    screen.press("2")
    screen.until("first", "1 sessions")
    screen.press("3")
    screen.until("arrived", "first")
    screen.press("Enter")
    screen.until("tokens ─", "esc ─")
    screen.press("Escape")
    screen.until("arrived", "enter why")

    screen.press("4")
    screen.until("by state", "the cell under the cursor")
    screen.press("m")
    screen.until("by owner", "A first")
    screen.press("5")
    screen.until("1 of 1 sessions", "first")
    screen.press("8")
    screen.until("2 decisions")
    screen.press("9")
    screen.until("in step")

    _edits_the_policy(screen)

    # So many prompts of their own that the small cache must let go of some.
    for number in range(12):
        box.ask(f"other-{number}", f"{number} is a number. " * 12)
    screen.press("7")
    screen.until("evicted", "lost")
    screen.press("/")
    screen.press(*"kind:evicted", "Enter")
    assert "request_started" not in screen.until("lost", "kind:evicted")

    screen.press("2")
    screen.until("other-11")
    screen.press("p")
    screen.until("pin first?", "level, 0 to 100", "enter")
    screen.press("Enter")
    screen.until("pin first?", "y yes")
    screen.press("y")
    screen.until("pin 59m")

    box.has_recorded("first", seconds_ago=10.0)
    _looks_back(screen)
    screen.press("q")
    screen.until("the console has ended")
    assert box.process.poll() is None


def _looks_back(screen: Screen) -> None:
    screen.press("0")
    screen.until("history", "now")
    screen.press("[")
    screen.until("PAST", "in the past")
    screen.press("1")
    screen.until("PAST", "prompt tokens read from cache")
    screen.press("2")
    screen.until("PAST", "sessions of", "first")
    screen.press("6")
    screen.until("PAST", "version ")
    screen.press("8")
    screen.until("PAST", "decisions", "the only candidate")
    screen.press("4")
    screen.until("PAST", "blocks of", "by owner")
    screen.press("5")
    screen.until("PAST", "prefixes of")
    screen.press("L")
    screen.until("0.5 s")


def _edits_the_policy(screen: Screen) -> None:
    screen.press("6")
    screen.until("version 1")
    screen.press("i")
    screen.until("stop writing")
    screen.press("#", " ", "m", "i", "n", "e", "Enter")
    screen.until("valid")
    screen.press("Escape")
    screen.until("a apply")
    screen.press("p")
    screen.until("replay of the last", "the optimum")
    screen.press("a")
    screen.until("Apply ", "y yes")
    screen.press("y")
    screen.until("version 2")
