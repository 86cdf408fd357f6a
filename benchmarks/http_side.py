"""The HTTP side alone: time to the first token of an engine that answers at once, the box beside vLLM's own server.

`python -m benchmarks.http_side`: both serve in one process over the same scripted engine and are asked in turn by a
client that is a process of its own, back to back, and once more with 50 ms of nothing before each request, after which
the processor's caches hold something else: as in a box whose engine has computed in between. Milliseconds and
processor time of the server, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import scripted_engine
from benchmarks.first_token import Client, body_of, words
from benchmarks.model_side import prepared
from benchmarks.streams import box_app, served, vllm_app

CONTEXT_TOKENS = 8192
PAUSES_SECONDS = (0.0, 0.05)


async def first_tokens(clients: dict[str, Client], body: dict[str, Any], rounds: int, pause: float) -> None:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for number in range(-5, rounds):
        for name, client in clients.items():
            await asyncio.sleep(pause)
            began = time.process_time()
            first_seconds = (await client.ask(body))[1][0]
            if number >= 0:
                taken[name].append((first_seconds, time.process_time() - began))
    for name, pairs in taken.items():
        first_ms, cpu_ms = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:5} {1000 * pause:3.0f} ms before: first token {first_ms:.2f} ms, processor {cpu_ms:.2f} ms")


async def main(rounds: int) -> None:
    from appliance.supervisor import keep_what_stands

    scripted_engine.STEP_SECONDS = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        bench = prepared(Path(scratch), CONTEXT_TOKENS)
        async with served(box_app(bench)) as box, served(await vllm_app(bench)) as vllm:
            keep_what_stands()
            clients = {"box": await Client.start(box), "vLLM": await Client.start(vllm)}
            for pause in PAUSES_SECONDS:
                await first_tokens(clients, body_of(bench.model.served_name, words(1), 1), rounds, pause)
            for client in clients.values():
                await client.close()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    uvloop.run(main(parser.parse_args().rounds))
