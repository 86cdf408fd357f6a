"""The console: until it is seen, how long a frame takes, and what it takes of a core.

`python -m benchmarks.console`: 200 columns, 50 lines, a box of two workers with 500 sessions and a million blocks that
answers at once over its control socket. First paint is from the start of the process to the first line on a terminal,
and to the first figure of the box. A frame is everything from views to lines, in processor time. The share of a core is
the process's own, of user and system time, at two frames a second.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import fcntl
import gc
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import psutil

from appliance.tui.console import Console
from appliance.tui.event_feed import ToldEvent
from appliance.tui.pages.catalogue import PAGES
from appliance.tui.pages.page import Page
from tests.unit.commands.answering_box import running_box
from tests.unit.tui import example_box
from tests.unit.tui.screens import console
from tests.unit.tui.test_source import documents

WIDTH, HEIGHT = 200, 50
SESSIONS = 500
BLOCKS = 1_000_000
CELLS = 8_000
MOST_AT_ONCE = 20_000


async def frames(rounds: int, pages: dict[str, type[Page]]) -> dict[str, tuple[float, float]]:
    """Milliseconds of processor time a frame, median and worst of twenty, by screen."""
    found = {}
    for key, page in pages.items():
        async with console((WIDTH, HEIGHT), past=700) as (app, pilot):
            await pilot.press(key)
            await pilot.pause()
            gc.freeze()  # as the console does before its first frame
            taken = [await _frame(app, pilot, second) for second in range(1, rounds + 1)]
        found[page.title] = (statistics.median(taken), sorted(taken)[-max(len(taken) // 20, 1)])
    return found


async def _frame(app: Console, pilot: Any, second: int) -> float:
    frame = dataclasses.replace(
        example_box.frame(second),
        sessions=example_box.sessions(SESSIONS),
        blocks=example_box.blocks(CELLS, BLOCKS // CELLS),
    )
    began = time.process_time()
    app.take(frame)
    await pilot.pause()
    return (time.process_time() - began) * 1000


def soak(seconds: float, lines: int) -> Iterator[tuple[float, int, float, float]]:
    """Of a console on a terminal that is told 10,000 events a second, two frames a second, on a screen that changes
    each minute: seconds so far, events told, MiB held by the process, share of a core it took since the last line."""
    with tempfile.TemporaryDirectory() as folder:
        box = ChattyBox()
        with running_box(Path(folder) / "run", box):
            terminal = Terminal(Path(folder) / "run")
            try:
                terminal.seconds_until(b"prompt tokens read")
                yield from _soaked(terminal, box, seconds, lines)
            finally:
                terminal.close()


def _soaked(
    terminal: Terminal, box: ChattyBox, seconds: float, lines: int
) -> Iterator[tuple[float, int, float, float]]:
    process, began = psutil.Process(terminal.process.pid), time.monotonic()
    for line in range(lines):
        before, since = sum(process.cpu_times()[:2]), time.monotonic()
        while (passed := time.monotonic() - began) < seconds * (line + 1) / lines:
            # Every other minute the events, which take all of them; between, each screen in turn.
            minute = int(passed / 60)
            terminal.type(b"7" if minute % 2 == 0 else list(PAGES)[minute // 2 % len(PAGES)].encode())
            terminal.watch(min(60.0, seconds / lines))
            terminal.seen = b""
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - since)
        yield passed, box.told, process.memory_info().rss / 2**20, share


class Terminal:
    """A console on a terminal of its own."""

    def __init__(self, runtime: Path) -> None:
        self.began = time.perf_counter()
        self.controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        environment = os.environ | {"DYNAMO_BOX_PATHS__RUNTIME": str(runtime), "TERM": "xterm-256color"}
        line = [sys.executable, "-m", "appliance.cli", "console"]
        self.process = subprocess.Popen(  # noqa: S603 – our own command line
            line, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        self.seen = b""

    def seconds_until(self, words: bytes, limit_seconds: float = 20.0) -> float:
        while words not in self.seen:
            self.read(0.05)
            if time.perf_counter() - self.began > limit_seconds:
                raise TimeoutError(f"{words!r} was not seen within {limit_seconds:g} s")
        return time.perf_counter() - self.began

    def read(self, seconds: float) -> int:
        ready, _, _ = select.select([self.controller], [], [], seconds)
        told = os.read(self.controller, 1 << 16) if ready else b""
        self.seen += told
        return len(told)

    def type(self, keys: bytes) -> None:
        os.write(self.controller, keys)

    def watch(self, seconds: float) -> tuple[float, float]:
        """The share of a core that the process takes, and bytes a second that it writes."""
        process = psutil.Process(self.process.pid)
        before, began, told = sum(process.cpu_times()[:2]), time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            told += self.read(0.1)
        return (sum(process.cpu_times()[:2]) - before) / passed, told / passed

    def close(self) -> None:
        self.type(b"q")
        # What it still writes must be read, or it never ends.
        while self.process.poll() is None:
            try:
                self.read(0.05)
            except OSError:
                break
        self.process.wait(10)
        os.close(self.controller)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--pages", help="only these, by name or digit, with commas between them")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only this: memory under 10,000 events a second")
    parser.add_argument("--lines", type=int, default=12, help="of a soak")
    options = parser.parse_args()
    if options.soak:
        for passed, told, mebibytes, share in soak(options.soak, options.lines):
            print(f"{passed:8.0f} s  {told:>12,} events  {mebibytes:.1f} MiB  {share:.1%} of a core", flush=True)
        return
    pages = _chosen(options.pages)
    for title, (median, worst) in asyncio.run(frames(options.rounds, pages)).items():
        print(f"frame, {title:<10} {median:6.1f} ms   19 of 20 below {worst:6.1f} ms")
    with tempfile.TemporaryDirectory() as folder, running_box(Path(folder) / "run", BusyBox()):
        _processes(Path(folder) / "run", options, pages)


def _chosen(names: str | None) -> dict[str, type[Page]]:
    """By digit. Raises `SystemExit` for one that there is not."""
    wanted = None if names is None else [name.strip().lower() for name in names.split(",")]
    known = {key: {key, page.title.lower()} for key, page in PAGES.items()}
    for name in wanted or ():
        if not any(name in each for each in known.values()):
            raise SystemExit(f"--pages: there is no {name!r} among {', '.join(page.title for page in PAGES.values())}")
    return {key: page for key, page in PAGES.items() if wanted is None or known[key] & {*wanted}}


def _processes(runtime: Path, options: argparse.Namespace, pages: dict[str, type[Page]]) -> None:
    painted, told = [], []
    for _ in range(options.starts):
        terminal = Terminal(runtime)
        painted.append(terminal.seconds_until(b"Overview"))
        told.append(terminal.seconds_until(b"prompt tokens read"))
        terminal.close()
    print(f"first paint {statistics.median(painted):.2f} s, first figures {statistics.median(told):.2f} s")
    for key, page in pages.items():
        terminal = Terminal(runtime)
        terminal.seconds_until(b"prompt tokens read")
        terminal.type(key.encode())
        terminal.watch(1.0)
        share, flow = terminal.watch(options.seconds)
        terminal.close()
        print(f"{page.title:<10} {share:.1%} of a core at 2 Hz, {flow / 1024:.1f} KiB/s to the terminal")


class BusyBox(dict[str, Any]):
    """A box whose counters grow, with many sessions; its workers are processes that there are."""

    def __init__(self) -> None:
        super().__init__(documents())
        self._began = time.monotonic()
        self._evictions = msgspec.to_builtins(example_box.evictions())
        self._evicted = 0
        self._maps = cycle([_map(turn) for turn in range(8)])
        self["/box/v1/cache/sessions?limit=500"] = msgspec.json.encode(example_box.sessions(SESSIONS))

    def __getitem__(self, route: str) -> Any:
        if route.startswith("/box/v1/blocks"):
            return next(self._maps)
        if route.startswith("/box/v1/evictions?"):
            return self._newer_evictions()
        if route != "/box/v1/status":
            return super().__getitem__(route)
        return self._status()

    def _newer_evictions(self) -> dict[str, Any]:
        """40 at each ask, as a box has that evicts 80 blocks a second."""
        self._evicted += len(self._evictions)
        return {"evictions": self._evictions, "next": self._evicted, "missed": 0}

    def _status(self) -> bytes:
        workers = [example_box.worker(number, pid=os.getpid()) for number in range(2)]
        second = int((time.monotonic() - self._began) * 2)
        return example_box.status(second, workers=workers).model_dump_json().encode()


def _map(turn: int) -> bytes:
    """40 cells elsewhere at each turn have lost all they had."""
    view = example_box.blocks(CELLS, BLOCKS // CELLS)
    gone = range(turn, CELLS, CELLS // 40)
    filled = [0 if place in gone else filled for place, filled in enumerate(view.filled)]
    return msgspec.json.encode(msgspec.structs.replace(view, filled=filled))


class ChattyBox(BusyBox):
    """It tells as many events as its age in seconds times 10,000, each once: a box that forgets none."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def __getitem__(self, route: str) -> Any:
        if not route.startswith("/box/v1/events"):
            return super().__getitem__(route)
        first, self.told = self.told, int((time.monotonic() - self._began) * 10_000)
        first = max(first, self.told - MOST_AT_ONCE)  # nobody listened: a box would have forgotten them
        return b"".join(map(_event, range(first, self.told)))


def _event(number: int) -> bytes:
    """As `event_routes` writes it."""
    told = {"type": "request_started", "request": f"r{number}", "session": f"s{number % 500}", "worker": 0}
    event = ToldEvent(number, example_box.NOW + number / 10_000, told | {"prompt_tokens": 31_000, "cached_tokens": 0})
    return b"id: 1-%d\nevent: request_started\ndata: %b\n\n" % (number, msgspec.json.encode(event))


if __name__ == "__main__":
    main()
