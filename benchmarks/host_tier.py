"""A long prefix read from the host arena, beside the GPU's own cache, vLLM's own host tier, and computing it again.

`python -m benchmarks.host_tier arena|builtin|none`: `arena` starts two workers (on one GPU, if there is one), so that
one reads what the other computed; `builtin` one worker with vLLM's `OffloadingConnector` and its private tier; `none`
one worker without a tier. Each asks the same prompts. Milliseconds to the first token, straight from the engine,
medians; `bytes` is what a prompt's blocks weigh, `copy_gb_s` (with a GPU) what a pinned copy to it moves, one way, in
the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ANSWER_TOKENS = 16
DECODE_STREAMS, DECODE_PROMPT, DECODE_TOKENS = 8, 512, 128
SETTLE_SECONDS = 30.0

COPY_RATE = """
import torch, time
host = torch.empty(2**30, dtype=torch.uint8, pin_memory=True)
device = torch.empty(2**30, dtype=torch.uint8, device="cuda")
device.copy_(host, non_blocking=True); torch.cuda.synchronize()
began = time.perf_counter()
for _ in range(8): device.copy_(host, non_blocking=True)
torch.cuda.synchronize()
print(8 * 2**30 / (time.perf_counter() - began) / 1e9)
"""


class Bench(NamedTuple):
    workers: list[Any]
    renderer: Any
    model: str
    arena: Any
    """The index, for a look from outside; `None` without one."""


class Answered(NamedTuple):
    first_ms: float
    cached_tokens: int
    token_ids: list[int]


def made(mode: str, settings: Any, model: Any, scratch: Path) -> tuple[list[Any], Any, Any]:
    """Workers, renderer and the arena's place. Two workers share the first GPU and its memory."""
    from vllm.config import KVTransferConfig

    from appliance.engine.hardware import detect_hardware
    from appliance.engine.loading import load_model_side
    from appliance.engine.plan import plan_workers
    from appliance.engine.worker import Worker
    from appliance.host_arena import arena_place
    from appliance.process_tree import SHARED_MEMORY

    host = settings.cache.host.bytes
    place = arena_place(SHARED_MEMORY, scratch, host) if mode == "arena" else None
    first = plan_workers(settings, detect_hardware(), scratch, scratch, place)[0]
    count = 2 if mode == "arena" else 1
    sockets = [(f"ipc://{scratch}/e{number}", f"ipc://{scratch}/r{number}") for number in range(count)]
    plans = [
        replace(first, id=number, events=events, replay=answers, log=scratch / f"worker-{number}.log")
        for number, (events, answers) in enumerate(sockets)
    ]
    renderer, configs = load_model_side(settings, model, plans)
    if mode == "builtin":
        share = {"cpu_bytes_to_use": settings.cache.host.bytes, "offload_prompt_only": False}
        for config in configs:
            config.kv_transfer_config = KVTransferConfig(
                kv_connector="OffloadingConnector", kv_role="kv_both", kv_connector_extra_config=share
            )
    return [Worker(plan, config) for plan, config in zip(plans, configs, strict=True)], renderer, place


async def ask(bench: Bench, worker: int, tokens: list[int], max_tokens: int = ANSWER_TOKENS) -> Answered:
    from appliance.conversation import Conversation, RawPrompt, Sampling

    sampling = Sampling(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    prompt = await bench.renderer.render(
        Conversation(bench.model, (), raw=RawPrompt(token_ids=tuple(tokens)), sampling=sampling)
    )
    began, first, made_ids, cached = time.perf_counter(), 0.0, [], 0
    async for step in bench.workers[worker].generate(prompt, uuid.uuid4().hex, priority=0, session_id=None):
        first = first or 1000 * (time.perf_counter() - began)
        cached = step.cached_tokens
        made_ids += step.token_ids
    return Answered(first, cached, made_ids)


async def settled(bench: Bench) -> None:
    """Until nothing is being written."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while bench.arena is not None and bench.arena.stats.held and time.monotonic() < deadline:
        await ask(bench, 0, [1, 2, 3], 2)
    await asyncio.sleep(0.5)


async def forget(bench: Bench, worker: int) -> None:
    """Empty the worker's own cache."""
    await bench.workers[worker]._llm.reset_prefix_cache()  # noqa: SLF001 – the engine itself
    await asyncio.sleep(0.2)


async def reads(bench: Bench, prompts: list[list[int]]) -> dict[str, Any]:
    kinds: dict[str, list[Answered]] = {}

    async def note(kind: str, worker: int, tokens: list[int]) -> None:
        kinds.setdefault(kind, []).append(await ask(bench, worker, tokens))

    for tokens in prompts:
        await note("cold", 0, tokens)
        await settled(bench)
        await note("gpu hit", 0, tokens)
        await note("gpu hit", 0, tokens)
        if len(bench.workers) == 2:
            await note("host, computed by another worker, first time", 1, tokens)
            await forget(bench, 1)
            await note("host, computed by another worker", 1, tokens)
        await forget(bench, 0)
        await note("own cache emptied", 0, tokens)
        await forget(bench, 0)
        await note("own cache emptied", 0, tokens)
    same = all(len({tuple(one.token_ids) for one in group}) == 1 for group in by_prompt(kinds, len(prompts)))
    told: dict[str, Any] = {
        kind: {
            "first_ms": round(statistics.median(one.first_ms for one in answers), 1),
            "all_ms": [round(one.first_ms, 1) for one in answers],
            "cached_tokens": min(one.cached_tokens for one in answers),
        }
        for kind, answers in kinds.items()
    }
    return told | {"same_tokens": same}


def by_prompt(kinds: dict[str, list[Answered]], count: int) -> list[list[Answered]]:
    """What each prompt was answered with, however it was read."""
    groups: list[list[Answered]] = [[] for _ in range(count)]
    for kind, answers in kinds.items():
        if kind != "cold":
            for number, one in enumerate(answers):
                groups[number * count // len(answers)].append(one)
    return groups


async def decode_rate(bench: Bench, source: np.random.Generator, rounds: int) -> float:
    """Tokens/s of streams whose prompts and answers are written through, where there is a tier."""
    rates = []
    for _ in range(rounds):
        prompts = [source.integers(100, 20_000, DECODE_PROMPT).tolist() for _ in range(DECODE_STREAMS)]
        began = time.perf_counter()
        await asyncio.gather(*(ask(bench, 0, tokens, DECODE_TOKENS) for tokens in prompts))
        rates.append(DECODE_STREAMS * DECODE_TOKENS / (time.perf_counter() - began))
    return round(statistics.median(rates), 1)


async def main(mode: str, tokens: int, prompts: int, rounds: int) -> None:
    from appliance.engine.environment import prepare_process
    from appliance.engine.model import find_model
    from appliance.paths import resolve_folders
    from appliance.settings import load_settings

    options: dict[str, Any] = {"workers.count": 1} | ({"cache.host.bytes": 0} if mode == "none" else {})
    settings = load_settings(options=options, config=None).settings
    prepare_process("error", settings.workers.start_timeout)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cache = resolve_folders(os.environ, data=scratch, cache=None, runtime=scratch).cache
        model = find_model(settings.model, cache / "models", lambda *_: None)
        workers, renderer, place = await asyncio.to_thread(made, mode, settings, model, scratch)
        figures = await measured(
            mode, Bench(workers, renderer, model.served_name, None), place, tokens, prompts, rounds
        )
    print(json.dumps(figures, indent=2))


async def measured(mode: str, bench: Bench, place: Any, tokens: int, prompts: int, rounds: int) -> dict[str, Any]:
    from appliance.cache.arena.index import ArenaIndex

    source = np.random.default_rng(5)
    try:
        for worker in bench.workers:
            await worker.start()
        if place is not None:
            bench = bench._replace(arena=ArenaIndex.open(place))
        await ask(bench, 0, source.integers(100, 20_000, 64).tolist())
        figures: dict[str, Any] = {"mode": mode, "prompt_tokens": tokens}
        figures |= await reads(bench, [source.integers(100, 20_000, tokens).tolist() for _ in range(prompts)])
        figures["decode_tokens_s"] = await decode_rate(bench, source, rounds)
        if bench.arena is not None:
            figures["arena"] = bench.arena.stats._asdict()
            figures["bytes"] = bench.arena.geometry.row_bytes * (tokens // block_tokens(bench))
            bench.arena.check_integrity()
    finally:
        await stop_all([worker.stop for worker in bench.workers])
        if place is not None:
            place.remove()
    if bench.workers[0].plan.gpus:
        told = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", COPY_RATE])
        figures["copy_gb_s"] = round(float(told), 1)
    return figures


def block_tokens(bench: Bench) -> int:
    return int(bench.workers[0].config.cache_config.block_size)


async def stop_all(stops: list[Callable[[], Awaitable[None]]]) -> None:
    for stop in stops:
        with suppress(OSError):
            await stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("arena", "builtin", "none"))
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(main(options.mode, options.tokens, options.prompts, options.rounds))
