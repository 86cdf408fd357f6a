"""First tokens of a box while somebody watches it, beside the same box while nobody does.

`python -m benchmarks.watched`: a box (two workers; more comes from the environment, `DYNAMO_BOX_…`) that `--sessions`
conversations ask in turns over HTTP. Periods of `--seconds` alternate: nobody watches, then a console on a terminal of
200 × 50, at two frames a second, on another screen each period. Milliseconds from a request to its first token, as the
client sees them, all periods of a kind together. `noise` is the same figure of unwatched periods beside unwatched ones
(every other): what the two would differ by if a console cost nothing. To reach: p99 within 1 %.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil

from appliance.tui.pages.catalogue import PAGES
from benchmarks.console import Terminal
from benchmarks.first_token import words
from benchmarks.restart import serving

TURNS, TURN_WORDS, ANSWER_TOKENS = 6, 150, 24
MOST_THINKING_SECONDS = 0.2
SETTLE_SECONDS = 2.0
SPAWN = multiprocessing.get_context("spawn")
Periods = list[list[float]]


class Sessions:
    """So many clients, each a thread that plays one conversation after the other; what they see is kept while `seen` is
    a list."""

    def __init__(self, endpoint: str, model: str, number: int) -> None:
        self._endpoint, self._model = endpoint, model
        self._threads = [threading.Thread(target=self._play, args=(place,)) for place in range(number)]
        self._ended = threading.Event()
        self.seen: list[float] | None = None
        self.failed = 0

    def __enter__(self) -> Sessions:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _play(self, place: int) -> None:
        chance = random.Random(place)  # noqa: S311 – when people ask
        conversation = 0
        with httpx.Client(base_url=self._endpoint, timeout=120) as client:
            while not self._ended.is_set():
                messages: list[dict[str, str]] = [{"role": "system", "content": words(1)}]
                name, conversation = f"watched-{place}-{conversation}", conversation + 1
                for turn in range(TURNS):
                    if self._ended.wait(chance.random() * MOST_THINKING_SECONDS):
                        return
                    messages.append({"role": "user", "content": f"{name} {turn}: " + words(turn, TURN_WORDS)})
                    messages.append({"role": "assistant", "content": self._ask(client, name, messages)})

    def _ask(self, client: httpx.Client, session: str, messages: list[dict[str, str]]) -> str:
        asked = {"model": self._model, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0}
        asked |= {"stream": True, "ignore_eos": True}
        seen, first, parts = self.seen, None, []
        began = time.perf_counter()
        headers = {"x-dynamo-session-id": session}
        with client.stream("POST", "/v1/chat/completions", json=asked, headers=headers) as reply:
            if reply.status_code != 200:
                self.failed += 1
                return ""
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    delta = json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
                    if first is None and delta.get("content"):
                        first = time.perf_counter() - began
                    parts.append(delta.get("content") or "")
        if seen is not None and seen is self.seen and first is not None:
            seen.append(1000 * first)
        return "".join(parts)


@contextmanager
def watching(runtime: Path, key: str) -> Iterator[dict[str, float]]:
    """A console on this screen, read by a process of its own; yields what will be known of it at the end."""
    here, there = SPAWN.Pipe()
    reader = SPAWN.Process(target=_watch, args=(there, runtime, key))
    reader.start()
    told: dict[str, float] = {}
    try:
        here.recv()
        yield told
    finally:
        here.send(None)
        told["core_share"] = here.recv()
        reader.join()


def _watch(owner: Connection, runtime: Path, key: str) -> None:
    terminal = Terminal(runtime)
    terminal.seconds_until(b"prompt tokens read")
    terminal.type(key.encode())
    owner.send(None)
    process, began = psutil.Process(terminal.process.pid), time.monotonic()
    before = sum(process.cpu_times()[:2])
    while not owner.poll():
        terminal.read(0.1)
        terminal.seen = b""
    owner.send((sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began))
    terminal.close()


def period(sessions: Sessions, seconds: float) -> list[float]:
    time.sleep(SETTLE_SECONDS)
    seen: list[float] = []
    sessions.seen = seen
    time.sleep(seconds)
    sessions.seen = None
    return seen


def figures(periods: Periods) -> dict[str, float]:
    seen = list(chain.from_iterable(periods))
    cuts = statistics.quantiles(seen, n=100, method="inclusive")
    return {"requests": len(seen), "p50": round(cuts[49], 2), "p90": round(cuts[89], 2), "p99": round(cuts[98], 2)}


def by_chance(one: Periods, other: Periods, rounds: int = 1000) -> tuple[float, float]:
    """What p99 of `one` is of that of `other`, 19 of 20 times, if other periods like these had been seen."""
    chance = random.Random(1)  # noqa: S311 – statistics

    def p99(periods: Periods) -> float:
        return figures(chance.choices(periods, k=len(periods)))["p99"]

    ratios = sorted(p99(one) / p99(other) for _ in range(rounds))
    return round(ratios[rounds // 40], 3), round(ratios[-rounds // 40], 3)


def compared(one: Periods, other: Periods) -> dict[str, Any]:
    """How many times as long `one` took as `other`."""
    a, b = figures(one), figures(other)
    return {name: round(a[name] / b[name], 3) for name in ("p50", "p90", "p99")} | {
        "p99_19_of_20": by_chance(one, other)
    }


def main(number: int, rounds: int, seconds: float) -> None:
    alone: Periods = []
    watched: Periods = []
    screens = []
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-") as folder, serving(Path(folder)) as (client, _):
        model = client.get("/v1/models").json()["data"][0]["id"]
        with Sessions(str(client.base_url), model, number) as sessions:
            period(sessions, 2 * seconds)
            for round_ in range(rounds):
                # Who goes first takes turns: the box remembers more with every period.
                for is_watched in (False, True) if round_ % 2 else (True, False):
                    if not is_watched:
                        alone.append(period(sessions, seconds))
                        continue
                    title = PAGES[key := list(PAGES)[round_ % len(PAGES)]].title
                    with watching(Path(folder) / "RUNTIME", key) as told:
                        watched.append(period(sessions, seconds))
                    screens.append((title, round(told["core_share"], 3), figures(watched[-1:])))
            status = client.get("/box/v1/status").json()
    told_of: dict[str, Any] = {
        "alone": figures(alone),
        "watched": figures(watched),
        "ratio": compared(watched, alone),
        "noise": compared(alone[::2], alone[1::2]),
        "alone_p99_by_period": [figures([one])["p99"] for one in alone],
        "failed": sessions.failed,
        "loop_lag_p99_ms": status["latency"]["loop_lag_p99_ms"],
        "load": os.getloadavg(),
    }
    print(json.dumps(told_of, indent=2))
    for title, share, seen in screens:
        print(f"{title:<10} {share:.1%} of a core, p50 {seen['p50']}, p99 {seen['p99']} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    main(options.sessions, options.rounds, options.seconds)
