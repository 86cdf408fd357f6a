"""What `benchmarks.router` measures of its peer, `RadixTree` of ai-dynamo-runtime, in the peer's own environment.

Run by `benchmarks.router`, never by hand. Prints one JSON object. Needs nothing but that package.
"""

from __future__ import annotations

import importlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

WORKERS, SESSIONS, SHARED_BLOCKS, OWN_BLOCKS, EVICTED_BLOCKS = 8, 100, 512, 64, 512


def seconds(action: Callable[[], object], repeats: int) -> float:
    """The best of ten batches, as `benchmarks.router` takes it of ours."""
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(repeats):
            action()
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def applied_seconds(tree: Any, events: list[tuple[int, bytes]]) -> float:
    began = time.perf_counter()
    for worker, event in events:
        tree.apply_event(worker, event)
    # The tree works in a thread of its own: an answer comes when all before it is applied.
    tree.find_matches([0])
    return time.perf_counter() - began


def event(number: int, data: dict[str, Any]) -> bytes:
    return json.dumps({"event_id": number, "data": data, "dp_rank": 0}).encode()


def main() -> None:
    rng = random.Random(1)  # noqa: S311  a seeded workload
    shared, engine_shared = ([rng.getrandbits(63) for _ in range(SHARED_BLOCKS)] for _ in range(2))
    stored: list[tuple[int, bytes]] = []
    removed: list[tuple[int, bytes]] = []
    prompts: list[list[int]] = []
    evicted: list[list[int]] = [[] for _ in range(WORKERS)]
    for number in range(WORKERS * SESSIONS):
        worker = number % WORKERS
        names = shared + [rng.getrandbits(63) for _ in range(OWN_BLOCKS)]
        engine_names = engine_shared + [rng.getrandbits(63) for _ in range(OWN_BLOCKS)]
        blocks = [{"block_hash": theirs, "tokens_hash": own} for theirs, own in zip(engine_names, names, strict=True)]
        stored.append((worker, event(number, {"stored": {"parent_hash": None, "blocks": blocks}})))
        evicted[worker] += engine_names[SHARED_BLOCKS:][::-1]
        prompts.append(names)
    for start in range(0, SESSIONS * OWN_BLOCKS, EVICTED_BLOCKS):
        for worker, names in enumerate(evicted):
            gone = {"block_hashes": names[start : start + EVICTED_BLOCKS]}
            removed.append((worker, event(len(stored) + len(removed), {"removed": gone})))
    tree = importlib.import_module("dynamo._core").RadixTree()
    num_blocks = SHARED_BLOCKS + OWN_BLOCKS
    stored_per_second = len(stored) * num_blocks / applied_seconds(tree, stored)
    match_seconds = seconds(lambda: tree.find_matches(prompts[0]).scores, 200)
    found = tree.find_matches(prompts[0]).scores
    rotating_seconds = seconds(lambda: [tree.find_matches(prompt).scores for prompt in prompts], 1) / len(prompts)
    removed_per_second = WORKERS * SESSIONS * OWN_BLOCKS / applied_seconds(tree, removed)
    print(
        json.dumps(
            {
                "match": match_seconds,
                "match_rotating": rotating_seconds,
                "stored_per_second": stored_per_second,
                "removed_per_second": removed_per_second,
                "deepest": max(found.values()),
                "workers": len(found),
            }
        )
    )


if __name__ == "__main__":
    main()
