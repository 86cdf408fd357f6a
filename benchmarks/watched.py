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
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
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
    """A console on this screen, read by a thread of its own; yields what will be known of it at the end."""
    terminal, told = Terminal(runtime), {"core_share": 0.0}
    terminal.seconds_until(b"prompt tokens read")
    terminal.type(key.encode())
    ended = threading.Event()

    def read() -> None:
        process, began = psutil.Process(terminal.process.pid), time.monotonic()
        before = sum(process.cpu_times()[:2])
        while not ended.is_set():
            terminal.read(0.1)
            terminal.seen = b""
        told["core_share"] = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield told
    finally:
        ended.set()
        reader.join()
        terminal.close()


def period(sessions: Sessions, seconds: float) -> list[float]:
    time.sleep(SETTLE_SECONDS)
    sessions.seen = seen = []
    time.sleep(seconds)
    sessions.seen = None
    return seen


def figures(seen: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seen, n=100, method="inclusive")
    return {"requests": len(seen), "p50": round(cuts[49], 2), "p90": round(cuts[89], 2), "p99": round(cuts[98], 2)}


def by_chance(one: list[float], other: list[float], rounds: int = 1000) -> tuple[float, float]:
    """What p99 of `one` is of that of `other`, 19 of 20 times, if both were drawn anew from what was seen."""
    chance = random.Random(1)  # noqa: S311 – statistics
    ratios = sorted(
        figures(chance.choices(one, k=len(one)))["p99"] / figures(chance.choices(other, k=len(other)))["p99"]
        for _ in range(rounds)
    )
    return round(ratios[rounds // 40], 3), round(ratios[-rounds // 40], 3)


def main(number: int, rounds: int, seconds: float) -> None:
    alone: list[list[float]] = []
    watched: list[list[float]] = []
    shares = {}
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-") as folder, serving(Path(folder)) as (client, _):
        model = client.get("/v1/models").json()["data"][0]["id"]
        with Sessions(str(client.base_url), model, number) as sessions:
            period(sessions, seconds)
            for round_ in range(rounds):
                alone.append(period(sessions, seconds))
                title = PAGES[key := list(PAGES)[round_ % len(PAGES)]].title
                with watching(Path(folder) / "RUNTIME", key) as told:
                    watched.append(period(sessions, seconds))
                shares[title] = round(told["core_share"], 3)
            status = client.get("/box/v1/status").json()
    flat, seen, even, odd = (
        list(chain.from_iterable(periods)) for periods in (alone, watched, alone[::2], alone[1::2])
    )
    told_of: dict[str, Any] = {
        "alone": figures(flat),
        "watched": figures(seen),
        "p99_ratio": round(figures(seen)["p99"] / figures(flat)["p99"], 3),
        "p99_ratio_by_chance": by_chance(seen, flat),
        "noise": {"p99_ratio": round(figures(odd)["p99"] / figures(even)["p99"], 3), "chance": by_chance(odd, even)},
        "console_core_share": shares,
        "failed": sessions.failed,
        "loop_lag_p99_ms": status["latency"]["loop_lag_p99_ms"],
        "load": os.getloadavg(),
    }
    print(json.dumps(told_of, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    main(options.sessions, options.rounds, options.seconds)
