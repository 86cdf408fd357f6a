"""A long prefix from the disk tier, to the first token over HTTP, beside the other tiers and computing it.

`python -m benchmarks.disk_hit`: one worker whose own cache holds one prompt, a host arena for two, a disk tier for all
of `--prompts`. Each is asked twice, then all again in turn, `--rounds` times. Milliseconds, medians by the tier that
most of a prompt came from. Between the rounds the slab is read bare (direct, 16 threads, random rows): `limit_ms` is
the first token of a GPU hit and a prompt's bytes at the median rate, `ratio` how many times as long the disk's part
took, to be at most 1.3. What the box is given comes from the environment (`DYNAMO_BOX_…`).
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from appliance.cache.slab.layout import PAGE
from appliance.keeper.disk import READERS
from benchmarks.restart import serving, written

TIERS = ("host_tokens", "disk_tokens")


def first_token(client: httpx.Client, model: str, tokens: list[int]) -> tuple[float, dict[str, int]]:
    """Milliseconds, and what the box counted for this request by tier."""
    before = counted(client)
    asked = {"model": model, "prompt": tokens, "max_tokens": 2, "temperature": 0, "ignore_eos": True, "stream": True}
    began = time.perf_counter()
    with client.stream("POST", "/v1/completions", json=asked) as reply:
        lines: Iterator[str] = reply.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        taken = 1000 * (time.perf_counter() - began)
        for _ in lines:
            pass
    after = counted(client)
    return taken, {name: after[name] - before[name] for name in before}


def counted(client: httpx.Client) -> dict[str, int]:
    rate = client.get("/box/v1/status").json()["cache_since_start"]
    return {name: rate[name] for name in ("prompt_tokens", "cached_tokens", *TIERS)}


def source(told: dict[str, int]) -> str:
    """The tier that had nine tenths of it; else `mixed`."""
    from_gpu = told["cached_tokens"] - sum(told[name] for name in TIERS)
    parts = {"gpu": from_gpu, "host": told["host_tokens"], "disk": told["disk_tokens"]}
    parts["computed"] = told["prompt_tokens"] - told["cached_tokens"]
    name, most = max(parts.items(), key=lambda part: part[1])
    return name if most >= 0.9 * told["prompt_tokens"] else "mixed"


def bare_rate(slab: Path, row_bytes: int) -> float:
    """Bytes a second of direct reads of random rows."""
    raw = os.open(slab, os.O_RDONLY | os.O_DIRECT)
    stride = -(-row_bytes // PAGE) * PAGE
    rows = random.sample(range(slab.stat().st_size // stride - 1), min(2**30, slab.stat().st_size) // stride - 1)
    buffers = [mmap.mmap(-1, stride) for _ in range(READERS)]

    def read(thread: int) -> int:
        return sum(os.preadv(raw, [buffers[thread]], row * stride) for row in rows[thread::READERS])

    began = time.perf_counter()
    with ThreadPoolExecutor(READERS) as pool:
        total = sum(pool.map(read, range(READERS)))
    os.close(raw)
    return total / (time.perf_counter() - began)


def main(tokens: int, prompts: int, rounds: int) -> None:
    numbers = random.Random(3)  # noqa: S311 – text for prompts
    texts = [[numbers.randrange(100, 20_000) for _ in range(tokens)] for _ in range(prompts)]
    taken: dict[str, list[float]] = defaultdict(list)
    rates: list[float] = []
    with tempfile.TemporaryDirectory(prefix="dynamo-box-bench-") as folder:
        slab = Path(folder) / "kv.slab"
        os.environ["DYNAMO_BOX_CACHE__DISK__PATH"] = str(slab)
        with serving(Path(folder)) as (client, _):
            model = client.get("/v1/models").json()["data"][0]["id"]
            first_token(client, model, texts[0][:64])

            def ask(text: list[int]) -> None:
                milliseconds, told = first_token(client, model, text)
                taken[source(told)].append(round(milliseconds, 1))

            for text in texts:
                ask(text)
                written(client)
                ask(text)
            row_bytes = client.get("/box/v1/status").json()["disk"]["row_bytes"]
            for _ in range(rounds):
                rates.append(bare_rate(slab, row_bytes))
                for text in texts:
                    ask(text)
            rates.append(bare_rate(slab, row_bytes))
            disk: dict[str, Any] = client.get("/box/v1/status").json()["disk"]
            block = client.get("/box/v1/cache").json()["block_tokens"]
    rate = statistics.median(rates)
    num_bytes = tokens // block * disk["row_bytes"]
    told: dict[str, Any] = {
        "prompt_tokens": tokens,
        "bytes": num_bytes,
        "bare_read_gb_s": [round(one / 1e9, 2) for one in rates],
    }
    told["first_ms"] = {name: round(statistics.median(all_of), 1) for name, all_of in taken.items()}
    told["all_ms"] = dict(taken)
    if "gpu" in taken and "disk" in taken:
        least = 1000 * num_bytes / rate
        told["limit_ms"] = round(told["first_ms"]["gpu"] + least, 1)
        told["ratio"] = round((told["first_ms"]["disk"] - told["first_ms"]["gpu"]) / least, 2)
    told["disk"] = {name: disk[name] for name in ("written", "promoted", "bad", "late", "asked", "dropped_full")}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    main(options.tokens, options.prompts, options.rounds)
