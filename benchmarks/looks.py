"""What a console's looks take of the box: processor time of the serving loop for each frame, by screen.

`python -m benchmarks.looks`: a box of one worker with a host tier, asked once by each of `--sessions` sessions. Then
each screen's frame is asked for `--frames` times as a console does, on an idle box. Milliseconds a frame of the loop's
thread and of all others, and what this is of a core at two frames a second. A request that comes meanwhile waits for
one route of a frame at the longest, not for all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

from appliance.tui.frame import Wanted
from appliance.tui.link import Link
from appliance.tui.pages.catalogue import PAGES
from appliance.tui.source import BoxSource
from benchmarks.first_token import words
from benchmarks.restart import serving

CELLS = 8192


def fill(client: httpx.Client, model: str, sessions: int) -> None:
    def ask(number: int) -> None:
        asked = {"model": model, "messages": [{"role": "user", "content": words(number, 80)}], "max_tokens": 1}
        headers = {"x-dynamo-session-id": f"looks-{number}"}
        client.post("/v1/chat/completions", json=asked, headers=headers).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(sessions)))


def seconds(box: psutil.Process) -> tuple[float, float]:
    """Of the loop's thread, and of all others."""
    threads = {thread.id: thread.user_time + thread.system_time for thread in box.threads()}
    loop = threads.pop(box.pid)
    return loop, sum(threads.values())


def main(sessions: int, frames: int) -> None:
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-") as folder, serving(Path(folder)) as (client, box):
        fill(client, client.get("/v1/models").json()["data"][0]["id"], sessions)
        source = BoxSource(Link(str(client.base_url)), None)
        for page in PAGES.values():
            wanted = Wanted(page.feeds, None, 0, CELLS)
            problems = source.frame(wanted).problems  # also all that was told before the first look
            before = seconds(box)
            for _ in range(frames):
                source.frame(wanted)
            loop, others = (1000 * (after - was) / frames for was, after in zip(before, seconds(box), strict=True))
            told[page.title] = {"loop_ms": round(loop, 2), "others_ms": round(others, 2), "core": round(loop / 500, 4)}
            if problems:
                told[page.title] |= {"problems": dict(problems)}
        source.close()
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--frames", type=int, default=100)
    options = parser.parse_args()
    main(options.sessions, options.frames)
