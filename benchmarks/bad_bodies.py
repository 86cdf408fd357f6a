"""How long bodies that no agent sends hold the loop which serves tokens.

`python -m benchmarks.bad_bodies` needs no engine: HTTP side, codec, stabiliser and renderer of the demo model over a
scripted engine; the client is a process of its own. While a body is read, rendered or refused, a task on the same loop
wakes every millisecond: the longest that it was kept waiting is what is reported, `quiet_ms` the same with nothing to
do. What vLLM does in the loop with each prompt before its engine gets it is done here too.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from appliance.supervisor import keep_what_stands
from benchmarks.codec import WARM_UP
from benchmarks.first_token import words
from benchmarks.model_side import Bench, prepared
from benchmarks.scripted_engine import ScriptedEngine
from benchmarks.streams import box_app, pieces_of, served

CONTEXT_TOKENS = 2**17
TICK_SECONDS = 0.001
MEGABYTE = 2**20
CHAT = "/v1/chat/completions"


def chat(content: Any, **fields: Any) -> bytes:
    body = {"model": "smollm2-135m-instruct", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}
    return msgspec.json.encode(body | fields)


def conversation(num_messages: int) -> bytes:
    """Messages of 4.4 KB."""
    texts = [words(seed, 700) for seed in range(20)]
    turns = [{"role": ("user", "assistant")[turn % 2], "content": texts[turn % 20]} for turn in range(num_messages)]
    return chat("", messages=turns)


def schema(num_objects: int) -> dict[str, Any]:
    names = [f"name_{place}" for place in range(10)]
    value = {"type": "string", "enum": [f"value {place}" for place in range(8)]}
    inner = {"type": "object", "properties": dict.fromkeys(names, value), "required": names}
    return {"type": "object", "properties": {f"object_{place}": inner for place in range(num_objects)}}


def grammar(num_objects: int) -> bytes:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema(num_objects)}}
    return chat("Hi", response_format=form)


def image() -> bytes:
    url = "data:image/png;base64," + base64.b64encode(os.urandom(24 * MEGABYTE)).decode()
    return chat([{"type": "image_url", "image_url": {"url": url}}])


BODIES: dict[str, Callable[[], bytes]] = {
    "0.5 MB of messages": lambda: conversation(111),
    "2 MB of messages": lambda: conversation(451),
    "16 MB of tiny parts": lambda: chat([{"type": "text", "text": ""}] * (16 * MEGABYTE // 25)),
    "as many tiny parts as are taken": lambda: chat([{"type": "text", "text": ""}] * (2**14 - 8)),
    "16 MB of numbers": lambda: chat("Hi", x=[1] * (8 * MEGABYTE)),
    "as many numbers as are taken": lambda: chat("Hi", x=[1] * (2**19 - 32)),
    "as much text as is taken": lambda: chat("some words " * (4 * 95000)),
    "16 MB of escapes": lambda: chat("\n\x01é" * (2 * MEGABYTE)),
    "60 MB of text": lambda: chat("some words " * (60 * MEGABYTE // 11)),
    "100 MB of text": lambda: chat("some words " * (100 * MEGABYTE // 11)),
    "32 MB image": image,
    "16 MB of open brackets": lambda: chat("Hi")[:-1] + b',"x":' + b"[" * (16 * MEGABYTE),
    "schema of 60 KB": lambda: grammar(40),
    "schema of 0.8 MB": lambda: grammar(500),
}


class Outcome(NamedTuple):
    held_seconds: float
    answered_seconds: float
    status: int


def post(port: int, body: bytes) -> int:
    try:
        return httpx.post(f"http://127.0.0.1:{port}{CHAT}", content=body, timeout=120).status_code
    except httpx.WriteError:
        return 0  # refused before it was sent


class Ticks:
    """Wakes all the time, and remembers the longest wait (in seconds) for its turn."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - began - TICK_SECONDS)


@asynccontextmanager
async def ticking() -> AsyncIterator[Ticks]:
    ticks = Ticks()
    task = asyncio.create_task(ticks.run())
    await asyncio.sleep(0)
    try:
        yield ticks
    finally:
        task.cancel()


async def asked(clients: ProcessPoolExecutor, port: int, body: bytes) -> Outcome:
    # The client gets the body first: to hand it over is no part of what is measured.
    await asyncio.get_running_loop().run_in_executor(clients, keep, body)
    async with ticking() as ticks:
        began = time.perf_counter()
        status = await asyncio.get_running_loop().run_in_executor(clients, post_kept, port)
        return Outcome(ticks.longest, time.perf_counter() - began, status)


_kept: list[bytes] = []


def keep(body: bytes) -> None:
    _kept[:] = [body]


def post_kept(port: int) -> int:
    return post(port, _kept[0])


class CheckingEngine(ScriptedEngine):
    """With vLLM's own input processor in front of it, as it stands in a worker of the box."""

    def __init__(self, bench: Bench) -> None:
        from vllm.v1.engine.input_processor import InputProcessor

        super().__init__(bench.config, bench.base, pieces_of(bench))
        self._processor = InputProcessor(bench.config, bench.base)
        self._processor.structured_outputs_config = None

    async def generate(self, prompt: Any, params: Any, request_id: str, **options: Any) -> AsyncGenerator[Any]:
        self._processor.process_inputs(request_id, prompt, params, ("generate",))
        async for output in super().generate(prompt, params, request_id, **options):
            yield output


async def main(bench: Bench, rounds: int, only: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as clients:
        async with served(box_app(bench, CheckingEngine(bench))) as port:
            for number in range(WARM_UP):
                await asked(clients, port, chat(words(number, 9)))
            keep_what_stands()
            async with ticking() as quiet:
                await asyncio.sleep(2)
            print(json.dumps({"quiet_ms": round(1000 * quiet.longest, 1)}))
            for name, new in BODIES.items():
                if only not in name:
                    continue
                body = new()
                outcomes = [await asked(clients, port, body) for _ in range(rounds)]
                print(json.dumps({"body": name} | figures(outcomes)), flush=True)


def figures(outcomes: list[Outcome]) -> dict[str, Any]:
    held = [outcome.held_seconds for outcome in outcomes]
    return {
        "status": outcomes[-1].status,
        "held_ms_median": round(1000 * statistics.median(held), 1),
        "held_ms_most": round(1000 * max(held), 1),
        "answered_ms": round(1000 * statistics.median(outcome.answered_seconds for outcome in outcomes)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="bodies whose name holds this text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(main(prepared(Path(scratch), CONTEXT_TOKENS), options.rounds, options.only))
