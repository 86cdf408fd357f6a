"""One host arena, several processes that work on it at once: block operations a second, and whether it stays sound.

`python -m benchmarks.arena [--processes 4] [--seconds 10]`: each process is an engine's scheduler that reads prompts of
2,000 blocks (look up and lease, lease for the load, release both) and stores new ones, which evicts: four prompts are
all processes', the others its own. One operation is one block in one call. Meanwhile another process checks the whole
index again and again. Wall-clock time; milliseconds of a call are those of one process, with its waits for the lock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from appliance.cache.arena.index import ArenaIndex, Worth
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import KEY_WORDS, Geometry, Keys

PROMPT_BLOCKS = 2_000
SHARED_PROMPTS, OWN_PROMPTS = 4, 12
STEP_BLOCKS = 128
"""An engine stores what a step of prefill has filled."""
SHARE_KEPT = 0.6
"""The arena has room for so many of all blocks: stores evict."""


class Calls(NamedTuple):
    """What one kind of call took, in seconds, and how many blocks it was for."""

    seconds: list[float]
    blocks: list[int]


def geometry(processes: int) -> Geometry:
    blocks = (SHARED_PROMPTS + processes * OWN_PROMPTS) * PROMPT_BLOCKS
    return Geometry(int(SHARE_KEPT * blocks), 4096, 64)


def prompt(seed: int) -> Keys:
    return np.random.default_rng(seed).integers(1, 2**63, (PROMPT_BLOCKS, KEY_WORDS), np.uint64)


class Engine:
    """One process's part: its prompts, in turn, each read as far as it is there and stored from there on."""

    def __init__(self, place: ArenaPlace, number: int) -> None:
        self._index = ArenaIndex.open(place)
        self._index.join(number.to_bytes(16, "big"))
        self._prompts = [prompt(seed) for seed in range(SHARED_PROMPTS)]
        self._prompts += [prompt(1000 * (number + 1) + each) for each in range(OWN_PROMPTS)]
        self._random = np.random.default_rng(number)
        self._worth = Worth(np.full(PROMPT_BLOCKS, 35, np.int64), np.zeros(PROMPT_BLOCKS, np.int64))
        self.calls: dict[str, Calls] = {}

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn(int(self._random.integers(len(self._prompts))))

    def _turn(self, number: int) -> None:
        keys, index, session = self._prompts[number], self._index, f"s{number}"
        rows = self._timed("look up", len(keys), index.look_up, keys)
        found = rows[rows >= 0]
        if len(found):
            self._timed("lease", len(found), index.lease, found, session, self._part(0, len(found)))
            self._timed("release", len(found), index.release, found)
            self._timed("release", len(found), index.release, found)
        for start in range(len(found), len(keys), STEP_BLOCKS):
            self._store(keys, start, min(start + STEP_BLOCKS, len(keys)), session)

    def _store(self, keys: Keys, start: int, end: int, session: str) -> None:
        index, part = self._index, keys[start:end]
        parents = np.zeros_like(part)
        parents[start == 0 :] = keys[max(start - 1, 0) : end - 1]
        self._timed("begin store", len(part), index.begin_store, part)
        self._timed(
            "end store", len(part), index.end_store, part, parents, session, self._part(start, end), is_whole=True
        )

    def _part(self, start: int, end: int) -> Worth:
        return Worth(self._worth.priorities[start:end], self._worth.durations_ms[start:end])

    def _timed(self, name: str, blocks: int, call: Any, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        answer = call(*arguments, **options)
        calls = self.calls.setdefault(name, Calls([], []))
        calls.seconds.append(time.perf_counter() - began)
        calls.blocks.append(blocks)
        return answer


def work(folder: Path, number: int, seconds: float) -> None:
    """A process of the benchmark: ready, go, figures."""
    engine = Engine(_place(folder), number)
    engine.run(0.5)
    engine.calls.clear()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    engine.run(seconds)
    print(json.dumps({"seconds": time.perf_counter() - began, "calls": engine.calls}), flush=True)


def measure(folder: Path, processes: int, seconds: float) -> dict[str, Any]:
    place = _place(folder)
    index = ArenaIndex.open(place, geometry(processes))
    line = [sys.executable, "-m", "benchmarks.arena", "--folder", str(folder), "--seconds", str(seconds), "--number"]
    children = [
        subprocess.Popen([*line, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for number in range(processes)
    ]
    try:
        for child in children:
            _read(child)
        for child in children:
            _tell(child)
        checks, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            index.check_integrity()
            checks += 1
            time.sleep(seconds / 20)
        told = [json.loads(_read(child)) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    index.check_integrity()
    stats = index.stats
    index.close()
    return {"told": told, "checks": checks, "stats": stats._asdict()}


def _place(folder: Path) -> ArenaPlace:
    return ArenaPlace(folder / "memory", folder / "locks")


def _read(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def _tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def report(found: dict[str, Any]) -> None:
    told = found["told"]
    rate = sum(sum(sum(blocks) for _, blocks in one["calls"].values()) / one["seconds"] for one in told)
    print(f"{len(told)} processes: {rate / 1e6:.2f} M block operations/s; {found['checks']} checks, all sound")
    print(f"{'call':12} {'blocks/s':>12} {'p50 ms':>8} {'p99 ms':>8}")
    for name in told[0]["calls"]:
        calls = [Calls(*one["calls"][name]) for one in told]
        seconds = np.concatenate([each.seconds for each in calls])
        blocks = sum(sum(each.blocks) / one["seconds"] for each, one in zip(calls, told, strict=True))
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        print(f"{name:12} {blocks:12,.0f} {p50:8.3f} {p99:8.3f}")
    print({name: value for name, value in found["stats"].items() if name in ("rows", "used", "stored", "evicted")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.number is not None:
        work(options.folder, options.number, options.seconds)
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 – the kernel's
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-", dir=memory) as folder:
        report(measure(Path(folder), options.processes, options.seconds))


if __name__ == "__main__":
    main()
