"""What a box that was killed whole still reads from cache: warm restart from the disk tier.

`python -m benchmarks.restart`: a box of two CPU workers with a host arena and a disk tier, in a folder of its own.
Eight conversations play four turns each; four of them play a fifth. Then every process of the box is killed (SIGKILL),
the box starts again, and the other four play their fifth turn. Shares of the fifth turns' prompt tokens read from
cache, and the median time of these requests (one token each). To reach: 95 % of the share before.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

CONVERSATIONS, TURNS, ANSWER_TOKENS = 8, 4, 32
SETTLE_SECONDS = 60.0
SETTINGS = {
    "DYNAMO_BOX_WORKERS__COUNT": "2",
    "DYNAMO_BOX_MODEL__MAX_MODEL_LEN": "4096",
    "DYNAMO_BOX_CACHE__HOST__BYTES": "1GiB",
    "DYNAMO_BOX_CACHE__DISK__BYTES": "2GiB",
}


class Conversation:
    def __init__(self, number: int) -> None:
        self._number = number
        self._messages: list[dict[str, str]] = []

    def turn(self, client: httpx.Client, model: str, max_tokens: int) -> dict[str, Any]:
        """Usage, and seconds."""
        turn = len(self._messages) // 2
        text = (
            f"Conversation {self._number}, turn {turn}. " + f"Explain topic {self._number * 10 + turn} in detail. " * 30
        )
        self._messages.append({"role": "user", "content": text})
        asked = {"model": model, "messages": self._messages, "max_tokens": max_tokens, "temperature": 0}
        headers = {"x-dynamo-session-id": f"conversation-{self._number}"}
        began = time.monotonic()
        reply = client.post("/v1/chat/completions", json=asked, headers=headers).raise_for_status().json()
        self._messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})
        return dict(reply["usage"]) | {"seconds": time.monotonic() - began}


@contextmanager
def serving(home: Path) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    environment = (
        SETTINGS | os.environ | {f"DYNAMO_BOX_PATHS__{name}": str(home / name) for name in ("RUNTIME", "DATA")}
    )
    line = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0", "--json"]
    with (home / "box.log").open("a") as log:
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603
    assert process.stdout is not None
    first = process.stdout.readline()
    assert "endpoint" in first, first + (home / "box.log").read_text()
    try:
        with httpx.Client(base_url=json.loads(first)["endpoint"], timeout=600) as client:
            yield client, psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        process.stdout.close()


def fifth_turns(client: httpx.Client, model: str, conversations: list[Conversation]) -> dict[str, float]:
    used = [conversation.turn(client, model, 1) for conversation in conversations]
    prompt_tokens = sum(usage["prompt_tokens"] for usage in used)
    cached_tokens = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in used)
    seconds = statistics.median(usage["seconds"] for usage in used)
    return {"share": round(cached_tokens / prompt_tokens, 4), "seconds": round(seconds, 3)}


def written(client: httpx.Client) -> None:
    """All that the arena has is on the disk."""
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        status = client.get("/box/v1/status").json()
        disk, host = status["disk"], status["host"]
        if disk and not host["held"] and not disk["queued"] and disk["used"] >= host["used"]:
            return
        time.sleep(0.2)
    raise TimeoutError("the disk tier does not come to rest")


def kill_whole(root: psutil.Process) -> None:
    family = [root, *root.children(recursive=True)]
    for one in family:
        one.kill()
    psutil.wait_procs(family, 30)


def main() -> None:
    conversations = [Conversation(number) for number in range(CONVERSATIONS)]
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-") as folder:
        with serving(Path(folder)) as (client, root):
            model = client.get("/v1/models").json()["data"][0]["id"]
            for _ in range(TURNS):
                for conversation in conversations:
                    conversation.turn(client, model, ANSWER_TOKENS)
            before = fifth_turns(client, model, conversations[::2])
            written(client)
            kill_whole(root)
        with serving(Path(folder)) as (client, _):
            written(client)
            after = fifth_turns(client, model, conversations[1::2])
            disk = client.get("/box/v1/status").json()["disk"]
    kept = round(after["share"] / before["share"], 4)
    told = {name: disk[name] for name in ("restored", "promoted", "bad")}
    print(json.dumps({"before": before, "after": after, "kept": kept, "disk": told}, indent=2))


if __name__ == "__main__":
    main()
