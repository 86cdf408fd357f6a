"""Recorded agent sessions through the router, over simulated workers, beside simpler ways and Dynamo's own replay.

    python -m benchmarks.replay SESSIONS [--peer PEER_PYTHON] [--workers 4] [--users 32] [--gib 40] [--seed 7]

SESSIONS is a folder of kv-cache-tester files, used as `benchmarks.policy` does: 160 sessions within 131,072 tokens,
tools and system text the same in all, 64-token blocks of 128 KiB a token, each worker with so many GiB of them.
PEER_PYTHON is a Python that has ai-dynamo-runtime 1.6.1: its `run_mocker_trace_replay` gets the same requests, each as
long after the answer before it. Without one it is left out. Both simulators take the same time for a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.contender import read_contender
from appliance.cache.interleave import interleave
from appliance.cache.trace import Trace
from appliance.cache.trace_formats import read_recording
from appliance.router.router import RoutingPolicy
from appliance.router.scoring import expected_cost, least_loaded
from benchmarks.policy import KV_BYTES_PER_TOKEN, _drawn, _measured, _with_common_head
from benchmarks.simulated_fleet import STEP_TOKENS, SimulatedFleet, Strategy, percentile

LRU = read_contender("lru")
AGENT = read_contender("coding-agent", uses_hints=False)
STRATEGIES = (
    Strategy("round robin, lru", RoutingPolicy.ROUND_ROBIN, expected_cost, LRU),
    Strategy("least loaded, lru", RoutingPolicy.KV, least_loaded, LRU),
    Strategy("expected cost, lru", RoutingPolicy.KV, expected_cost, LRU),
    Strategy("expected cost, coding-agent", RoutingPolicy.KV, expected_cost, AGENT),
)
PEER_MODES = ("round_robin", "kv_router")


def main() -> None:
    options = _options()
    trace = _trace(options.sessions, options.users, options.seed)
    blocks = options.gib * 2**30 // (KV_BYTES_PER_TOKEN * trace.block_tokens)
    print(
        f"{len(trace)} requests, {int(trace.prompt_tokens.sum()) / 1e6:.0f} M prompt tokens; {blocks} blocks a worker"
    )
    print("| | read from cache | TTFT p50 | p90 | p99 | mean |\n|---|---|---|---|---|---|")
    for strategy in STRATEGIES:
        began = time.process_time()
        served = SimulatedFleet(trace, strategy, options.workers, blocks).run()
        _print_row(strategy.name, served.hit_tokens, served.first_token_seconds, trace.prompt_tokens)
        settled = served.router.history.totals.settled
        print(
            f"{strategy.name}: {time.process_time() - began:.0f} s of CPU; regretted {settled.regretted} of "
            f"{settled.decisions}, {settled.regret_seconds:.0f} s; {settled.missed_tokens / 1e6:.1f} M tokens missed",
            file=sys.stderr,
        )
    if options.peer is None:
        print("Dynamo's replay was left out: --peer PYTHON names a Python that has ai-dynamo-runtime 1.6.1")
        return
    for mode in PEER_MODES:
        _print_row(f"Dynamo's replay, {mode}", *_peer(options.peer, mode, trace, options.workers, blocks))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--gib", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def _trace(folder: Path, users: int, seed: int) -> Trace:
    recording = read_recording(folder)
    sessions = _drawn(_measured([one for one in recording.sessions if "/" not in one[0].session]))
    shared = [tuple(map(_with_common_head, session)) for session in sessions]
    return interleave(shared, recording.block_tokens, slots=users, seed=seed)


def _print_row(
    name: str, hit_tokens: NDArray[np.int64], seconds: NDArray[np.float64], prompt_tokens: NDArray[np.int64]
) -> None:
    rate = 100 * np.minimum(hit_tokens, prompt_tokens).sum() / prompt_tokens.sum()
    shares = " | ".join(f"{1000 * percentile(seconds, share):.0f} ms" for share in (50, 90, 99))
    print(f"| {name} | {rate:.1f} % | {shares} | {1000 * seconds.mean():.0f} ms |", flush=True)


def _peer(
    python: str, mode: str, trace: Trace, workers: int, blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """What its replay says of each request."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in _mooncake(trace)))
        script = Path(__file__).with_name("replay_peer.py")
        engine = {"num_gpu_blocks": blocks, "block_size": trace.block_tokens, "max_num_batched_tokens": STEP_TOKENS}
        told = subprocess.run(  # noqa: S603 – the peer
            [python, str(script), str(path), mode, str(workers), json.dumps(engine)],
            capture_output=True,
            text=True,
            check=True,
        )
    rows = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    assert len(rows) == len(trace), f"{len(rows)} of {len(trace)} requests came back"
    return (
        np.array([row["reused_input_tokens"] for row in rows]),
        np.array([row["ttft_ms"] for row in rows]) / 1000,
        np.array([row["input_length"] for row in rows]),
    )


def _mooncake(trace: Trace) -> Iterator[dict[str, Any]]:
    """A session for each user, whose next request comes so long after the answer before it."""
    user: dict[int, int] = {}
    for request, previous in enumerate(trace.after.tolist()):
        user[request] = user.get(previous, request)
        row: dict[str, Any] = {
            "session_id": f"u{user[request]}",
            "input_length": int(trace.prompt_tokens[request]),
            "output_length": max(1, int(trace.output_tokens[request])),
            # What does not fill a block is nobody else's.
            "hash_ids": [*trace.blocks_of(request).tolist(), trace.block_count + request],
        }
        gap_seconds = float(trace.arrival_seconds[request] - (trace.end_seconds[previous] if previous >= 0 else 0.0))
        row["delay" if previous >= 0 else "timestamp"] = 1000 * max(0.0, gap_seconds)
        yield row


if __name__ == "__main__":
    main()
