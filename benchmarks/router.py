"""The router's core beside ai-dynamo-runtime: match, events, hashing (its `RadixTree`), decisions (`SelectionService`).

`python -m benchmarks.router [PEER_PYTHON]`, where PEER_PYTHON is a Python that has ai-dynamo-runtime 1.6.1; without one
the peer is left out. The best of rounds in which both take turns, because whatever else runs on the machine can only
make either slower.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from appliance.router.engine_blocks import EngineBlocks
from appliance.router.hashing import Hashes, Tokens, hash_blocks
from appliance.router.index import LEAST_IN_PIECES, PrefixIndex
from appliance.router.kernels import match_blocks
from appliance.router.mirror import WorkerMirror
from appliance.router.router import Router, RoutingPolicy
from appliance.router.warming import warm_up
from appliance.router.wire_events import decode_batch

ROUNDS = 5
WORKERS, SESSIONS, SHARED_BLOCKS, OWN_BLOCKS, EVICTED_BLOCKS = 8, 100, 512, 64, 512
DEPTH = SHARED_BLOCKS + OWN_BLOCKS
BLOCK_TOKENS = 16
LONG_TOKENS = 200_000
LONG_BLOCKS = LONG_TOKENS // BLOCK_TOKENS
INDEXED_BLOCKS = 1_000_000
OPEN_REQUESTS = 64
STEP_BLOCKS = 512
MOVES = 3
VOCABULARY = 128_000

Figures = dict[str, float]


def seconds(action: Callable[[], object], repeats: int) -> float:
    """The best of ten batches."""
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(repeats):
            action()
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def each_us(action: Callable[[Any], object], arguments: list[Any]) -> Figures:
    """p50 and p99 of single calls."""
    times = []
    for argument in arguments:
        began = time.perf_counter_ns()
        action(argument)
        times.append((time.perf_counter_ns() - began) / 1000)
    return {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}


class Sessions:
    """8 workers with 100 conversations each that share a system prompt, as hashes, as tokens and as events."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.tokens = [self._tokens() for _ in range(WORKERS * SESSIONS)]
        for tokens in self.tokens[1:]:
            tokens[: SHARED_BLOCKS * BLOCK_TOKENS] = self.tokens[0][: SHARED_BLOCKS * BLOCK_TOKENS]
        self.hashes = [hash_blocks(tokens, BLOCK_TOKENS) for tokens in self.tokens]
        self.engine_hashes = [~hashes for hashes in self.hashes]

    def _tokens(self) -> Tokens:
        return self.rng.integers(0, VOCABULARY, DEPTH * BLOCK_TOKENS).astype(np.uint32)

    def filled(self) -> PrefixIndex:
        index = PrefixIndex()
        for number, hashes in enumerate(self.hashes):
            index.store(number % WORKERS, hashes)
        return index

    def evicted(self) -> Iterator[tuple[int, Hashes]]:
        """Worker and engine hashes of the conversations' own parts, last blocks first, as many as a step evicts."""
        of_worker = [
            np.concatenate([names[SHARED_BLOCKS:][::-1] for names in self.engine_hashes[worker::WORKERS]])
            for worker in range(WORKERS)
        ]
        for start in range(0, SESSIONS * OWN_BLOCKS, EVICTED_BLOCKS):
            for worker, names in enumerate(of_worker):
                yield worker, names[start : start + EVICTED_BLOCKS].copy()

    def stored_payloads(self) -> Iterator[tuple[int, bytes]]:
        """Worker and what vLLM sends when a conversation is computed."""
        for number, (tokens, names) in enumerate(zip(self.tokens, self.engine_hashes, strict=True)):
            stored = {
                "type": "BlockStored",
                "block_hashes": names.tolist(),
                "parent_block_hash": None,
                "token_ids": tokens.tolist(),
                "block_size": BLOCK_TOKENS,
                "medium": "GPU",
                "extra_keys": [None] * DEPTH,
                "group_idx": 0,
                "kv_cache_spec_kind": "full_attention",
            }
            yield number % WORKERS, msgspec.msgpack.encode([0.0, [stored], 0])

    def removed_payloads(self) -> Iterator[tuple[int, bytes]]:
        """Worker and what vLLM sends when blocks are evicted: an event for each."""
        for worker, names in self.evicted():
            removed = [
                {"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU", "group_idx": 0}
                for name in names.tolist()
            ]
            yield worker, msgspec.msgpack.encode([0.0, removed, 0])


def match(sessions: Sessions) -> Figures:
    index = sessions.filled()
    first = sessions.hashes[0]
    return {
        "match": seconds(lambda: index.match(first), 1000),
        "match_rotating": seconds(lambda: [index.match(hashes) for hashes in sessions.hashes], 1) / WORKERS / SESSIONS,
    }


def touched(sessions: Sessions) -> int:
    """Hashes looked up for a match in which all 576 are resolved."""
    index = sessions.filled()
    slots, rows, _, _ = index._arrays  # noqa: SLF001 – a figure nobody needs in service
    return match_blocks(slots, rows, sessions.hashes[0], index.match(sessions.hashes[0]))


def apply_hashes(sessions: Sessions, evicted: list[tuple[int, Hashes]]) -> Figures:
    """Engine hashes and own hashes given, as the peer's events have them, but in arrays: nothing is decoded."""
    index, engines = PrefixIndex(), [EngineBlocks() for _ in range(WORKERS)]
    own = [hashes.copy() for hashes in sessions.hashes]
    began = time.perf_counter()
    for number, hashes in enumerate(own):
        engines[number % WORKERS].add(sessions.engine_hashes[number], hashes)
        index.store(number % WORKERS, hashes)
    stored = time.perf_counter()
    for worker, names in evicted:
        last, _ = engines[worker].drop(names)
        index.remove(worker, last)
    removed = time.perf_counter()
    index.check_integrity()
    return rates("", stored - began, removed - stored)


def apply_wire(stored_payloads: list[tuple[int, bytes]], removed_payloads: list[tuple[int, bytes]]) -> Figures:
    """From vLLM's msgpack: decoded, tokens hashed."""
    index = PrefixIndex()
    mirrors = [WorkerMirror(worker, index, BLOCK_TOKENS) for worker in range(WORKERS)]
    began = time.perf_counter()
    for worker, payload in stored_payloads:
        mirrors[worker].apply(decode_batch(payload))
    stored = time.perf_counter()
    for worker, payload in removed_payloads:
        mirrors[worker].apply(decode_batch(payload))
    removed = time.perf_counter()
    assert index.num_blocks(0) == SHARED_BLOCKS
    return rates("wire_", stored - began, removed - stored)


def rates(prefix: str, stored_seconds: float, removed_seconds: float) -> Figures:
    return {
        f"{prefix}stored_per_second": WORKERS * SESSIONS * DEPTH / stored_seconds,
        f"{prefix}removed_per_second": WORKERS * SESSIONS * OWN_BLOCKS / removed_seconds,
    }


def peers(python: str) -> Figures:
    script = Path(__file__).with_name("router_peer.py")
    quiet = os.environ | {"DYN_LOG": "error"}
    told = subprocess.run([python, str(script)], capture_output=True, text=True, check=True, env=quiet)  # noqa: S603 – the peer
    figures: Figures = json.loads(told.stdout)
    assert (figures.pop("deepest"), figures.pop("workers")) == (DEPTH, WORKERS)
    return figures


def best(rounds: list[Figures]) -> Figures:
    """The shortest of times, the highest of rates."""
    return {
        name: (max if name.endswith("_per_second") else min)(figures[name] for figures in rounds) for name in rounds[0]
    }


def long_index() -> tuple[PrefixIndex, list[Hashes]]:
    """A million blocks: prompts of 200,000 tokens, each held by two workers, by the second to a random depth."""
    rng, index, prompts = np.random.default_rng(2), PrefixIndex(), []
    for number in range(INDEXED_BLOCKS // LONG_BLOCKS):
        prompts.append(hash_blocks(rng.integers(0, VOCABULARY, LONG_TOKENS).astype(np.uint32), BLOCK_TOKENS))
        index.store(number % WORKERS, prompts[-1][: rng.integers(LONG_BLOCKS // 2, LONG_BLOCKS + 1)])
        index.store((number + 1) % WORKERS, prompts[-1][: rng.integers(1, LONG_BLOCKS + 1)])
    return index, prompts


def deep_matches() -> dict[str, Figures]:
    index, prompts = long_index()
    chosen = np.random.default_rng(3).integers(0, len(prompts), 5000)
    figures = {
        f"{depth} blocks deep": each_us(index.match, [prompts[number][:depth] for number in chosen])
        for depth in (10, 100, 1000, LONG_BLOCKS)
    }
    is_over = threading.Event()
    busy = threading.Thread(target=keep_writing, args=(index, is_over))
    busy.start()
    figures[f"{LONG_BLOCKS} blocks deep, while a thread writes"] = each_us(
        index.match, [prompts[number] for number in chosen]
    )
    is_over.set()
    busy.join()
    return figures


def keep_writing(index: PrefixIndex, is_over: threading.Event) -> None:
    hashes = hash_blocks(range(20_000), 20)
    while not is_over.is_set():
        index.store(15, hashes)
        index.remove(15, hashes[::-1].copy())


def moves(least_in_pieces: int) -> dict[str, float]:
    """A million blocks held, in pieces of `STEP_BLOCKS`: each step stores one and removes the oldest, which is how long
    the loop is held, until all that is held has moved `MOVES` times. Milliseconds of
    processor time."""
    index = PrefixIndex(least_in_pieces=least_in_pieces)
    pieces = deque[Hashes]()
    numbers = np.random.default_rng(6)

    def store() -> None:
        pieces.append(numbers.integers(0, 1 << 64, STEP_BLOCKS, np.uint64))
        index.store(0, pieces[-1])

    for _ in range(INDEXED_BLOCKS // STEP_BLOCKS):
        store()
    times, moved, arrays = [], 0, id(index._arrays)  # noqa: SLF001 – tells when all has moved
    while moved < MOVES:
        oldest = pieces.popleft()
        began = time.thread_time()
        store()
        index.remove(0, oldest)
        times.append((time.thread_time() - began) * 1000)
        # The old ones are let go of in the step, as in service.
        moved += id(index._arrays) != arrays  # noqa: SLF001
        arrays = id(index._arrays)  # noqa: SLF001
    index.check_integrity()
    return {
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "most": max(times),
        "steps a move": len(times) / MOVES,
    }


def hashing() -> dict[str, float]:
    tokens = np.random.default_rng(4).integers(0, VOCABULARY, LONG_TOKENS).astype(np.uint32)
    as_list = tokens.tolist()
    return {
        "of an array": seconds(lambda: hash_blocks(tokens, BLOCK_TOKENS), 20) * 1e6,
        "of a list": seconds(lambda: hash_blocks(as_list, BLOCK_TOKENS), 20) * 1e6,
    }


def decisions(sessions: Sessions) -> dict[str, Figures]:
    """Prompts of 8,192 tokens as lists, 8 workers, 64 requests open: `route` and `admit`."""
    router = Router(
        sessions.filled(),
        range(WORKERS),
        RoutingPolicy.KV,
        block_tokens=BLOCK_TOKENS,
        random=Random(5),  # noqa: S311 – breaks ties
    )
    prompts = [tokens[-8192:].tolist() for tokens in sessions.tokens] + [
        tokens[:8192].tolist() for tokens in sessions.tokens
    ]
    for prompt in prompts[:OPEN_REQUESTS]:
        router.admit(router.route(prompt))
    return {
        "route": each_us(router.route, prompts),
        "route, admit, close": each_us(lambda prompt: router.admit(router.route(prompt)).close(), prompts),
    }


def main() -> None:
    warm_up()
    python = sys.argv[1] if len(sys.argv) > 1 else None
    sessions = Sessions()
    evicted = list(sessions.evicted())
    payloads = list(sessions.stored_payloads()), list(sessions.removed_payloads())

    def ours() -> Figures:
        decision = {"decision": decisions(sessions)["route, admit, close"]["p50"] / 1e6}
        return match(sessions) | apply_hashes(sessions, evicted) | apply_wire(*payloads) | decision

    rounds = [(ours(), peers(python) if python else {}) for _ in range(ROUNDS)]
    compare(best([figures for figures, _ in rounds]), best([figures for _, figures in rounds]))
    looked_up, match_seconds = touched(sessions), min(figures["match"] for figures, _ in rounds)
    print(f"{looked_up} of {DEPTH} hashes looked up: {looked_up / match_seconds / 1e6:.1f} M/s")
    print(f"{DEPTH} resolved: {DEPTH / match_seconds / 1e6:.0f} M/s")
    print("match in an index of a million blocks, µs:", json.dumps(deep_matches(), indent=1))
    for name, least_in_pieces in (("in pieces", LEAST_IN_PIECES), ("in one go", sys.maxsize)):
        print(f"a step of a million blocks that move {name}, ms:", json.dumps(moves(least_in_pieces)))
    print("hash 200,000 tokens, µs:", json.dumps(hashing()))
    print("decision on 8,192 tokens, µs:", json.dumps(decisions(sessions), indent=1))


def compare(mine: Figures, peer: Figures) -> None:
    for name, value in mine.items():
        beside = peer.get(name.removeprefix("wire_"))
        if beside is None:
            print(f"{name}: {shown(name, value)}; peer not measured")
            continue
        ratio = value / beside if name.endswith("_per_second") else beside / value
        print(f"{name}: {shown(name, value)}; peer {shown(name, beside)}; {ratio:.1f} ×")


def shown(name: str, value: float) -> str:
    return f"{value / 1e6:.2f} M/s" if name.endswith("_per_second") else f"{value * 1e6:.2f} µs"


if __name__ == "__main__":
    main()
