"""What `benchmarks.router` measures of its peer, `RadixTree` and `SelectionService` of ai-dynamo-runtime, in the peer's
own environment.

Run by `benchmarks.router`, never by hand. Prints one JSON object. Needs nothing but that package.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

WORKERS, SESSIONS, SHARED_BLOCKS, OWN_BLOCKS, EVICTED_BLOCKS = 8, 100, 512, 64, 512
DECISIONS, OPEN_REQUESTS, PROMPT_TOKENS, BLOCK_TOKENS = 264, 64, 8192, 16


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


async def decision_seconds(rng: random.Random) -> float:
    """Median of `select_and_reserve` and `free_reservation` for prompts of 8,192 tokens, 64 of them open. Nothing is in
    the service's index: no engine sends it events."""
    service = importlib.import_module("dynamo._core").SelectionService(indexer_threads=2)
    for worker in range(1, WORKERS + 1):
        await service.upsert_worker(described(worker))
    prompts = [[rng.randrange(128_000) for _ in range(PROMPT_TOKENS)] for _ in range(DECISIONS)]
    times = []
    for number, prompt in enumerate(prompts):
        began = time.perf_counter()
        await service.select_and_reserve({"model_name": "m", "token_ids": prompt, "selection_id": f"r{number}"})
        if number >= OPEN_REQUESTS:
            await service.free_reservation(f"r{number - OPEN_REQUESTS}")
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def described(worker: int) -> dict[str, Any]:
    return {
        "worker_id": worker,
        "model_name": "m",
        "endpoint": f"http://127.0.0.1:{9000 + worker}",
        "block_size": BLOCK_TOKENS,
        "data_parallel_start_rank": 0,
        "data_parallel_size": 1,
        "max_num_batched_tokens": PROMPT_TOKENS,
        "total_kv_blocks": 100_000,
        "kv_events_endpoints": {0: f"tcp://127.0.0.1:{19000 + worker}"},
    }


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
                "decision": asyncio.run(decision_seconds(rng)),
                "deepest": max(found.values()),
                "workers": len(found),
            }
        )
    )


if __name__ == "__main__":
    main()
