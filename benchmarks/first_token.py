"""What the box adds to `AsyncLLM.generate`: time to first token, cold and warm, and throughput at 32 streams.

`python -m benchmarks.first_token` starts one worker of the demo model with the whole HTTP side before it. The same
engine is asked directly and through HTTP, in turn, with the same tokens; the HTTP client is a process of its own that
speaks over a bare socket, so that it adds as little as it can.

Cold prompts were never seen before; warm ones are read from cache but for their last block.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

PROMPT_WORDS = 120
STREAMS = 32
STREAM_TOKENS = 64
WORDS = [
    "cache",
    "block",
    "prefix",
    "hit",
    "eviction",
    "tier",
    "worker",
    "session",
    "turn",
    "token",
    "prompt",
    "router",
    "engine",
    "model",
    "memory",
    "disk",
]


class Bench(NamedTuple):
    """One engine, and the port of the box before it."""

    model: str
    pipeline: Any
    llm: Any
    port: int
    running: Any


def body_of(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


def words(seed: int, count: int = PROMPT_WORDS) -> str:
    source = random.Random(seed)  # noqa: S311 – text for a prompt
    return " ".join(source.choices(WORDS, k=count))


@asynccontextmanager
async def box(**options: Any) -> AsyncIterator[Bench]:
    """The parts of `dynamo-box serve`, without its process tree: one fleet, one pipeline, one HTTP server.

    `options` are settings, two underscores for a dot.
    """
    import uvicorn

    from appliance.api.app import create_app
    from appliance.box import RunningBox
    from appliance.endpoint import bind_tcp
    from appliance.engine.environment import prepare_process
    from appliance.engine.model import find_model
    from appliance.paths import resolve_folders
    from appliance.settings import load_settings

    set_keys = {name.replace("__", "."): value for name, value in options.items()}
    settings = load_settings(options={"workers.count": 1, **set_keys}, config=None).settings
    prepare_process("error", settings.workers.start_timeout)
    from appliance.assembly import assemble, prepare
    from appliance.supervisor import keep_what_stands

    with tempfile.TemporaryDirectory() as scratch:
        folders = resolve_folders(os.environ, data=Path(scratch), cache=None, runtime=Path(scratch))
        model = find_model(settings.model, folders.cache / "models", lambda *_: None)
        running = RunningBox("", model.served_name, model.source)
        cores = os.sched_getaffinity(0)
        # One core stays free for the HTTP side, as it does for a worker that waits.
        os.sched_setaffinity(0, sorted(cores)[:-1] or cores)
        workshop = await asyncio.to_thread(prepare, settings, folders, model)
        os.sched_setaffinity(0, cores)
        parts = assemble(settings, model, workshop, running)
        await parts.fleet.start(lambda: None)
        keep_what_stands()
        if parts.caretaker is not None:
            parts.caretaker.start()
        running.open(parts.pipeline, parts.fleet, parts.caretaker)
        listener = bind_tcp("127.0.0.1", 0)
        app = create_app(running, running, max_body_bytes=1 << 24, max_requests=256)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="on"))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            llm = parts.fleet.worker(0)._llm  # noqa: SLF001 – the engine itself is what the box is held against
            yield Bench(model.served_name, parts.pipeline, llm, listener.getsockname()[1], running)
        finally:
            server.should_exit = True
            await serving
            if parts.caretaker is not None:
                await parts.caretaker.stop()
            await parts.fleet.stop()


async def direct(bench: Bench, text: str, max_tokens: int, name: str) -> tuple[float, float]:
    """Seconds to the first token straight from the engine, and those that rendering took, which are not in it."""
    from appliance.api.chat import decode_conversation

    began = time.perf_counter()
    prepared = await bench.pipeline.prepare(decode_conversation(body_of(bench.model, text, max_tokens), {}), name)
    prompt = prepared._prompt  # noqa: SLF001 – the very tokens and parameters the box would use
    rendered = time.perf_counter()
    first: float | None = None
    async for _ in bench.llm.generate(prompt.engine_input, prompt.params, name):
        first = first or time.perf_counter() - rendered
    assert first is not None
    return first, rendered - began


class Client:
    """The HTTP client in a process of its own: a request a line in, `[first, last]` seconds a line out."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int) -> Client:
        line = [sys.executable, "-m", "benchmarks.first_token", "--client", str(port)]
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe))

    async def ask(self, *bodies: dict[str, Any]) -> list[list[float]]:
        """Send these requests at once; seconds to the first content and to the end of each, and of all in front."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(bodies).encode() + b"\n")
        answer: list[list[float]] = json.loads(await self._process.stdout.readline())
        return answer

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def stream(port: int, body: dict[str, Any]) -> list[float]:
    """One streamed answer over a bare connection, timed from before the request is written."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    payload = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + payload)
    first, tail = 0.0, b""
    while piece := await reader.read(65536):
        if not first and b'"content"' in piece:
            first = time.perf_counter() - began
        tail = (tail + piece)[-64:]
    writer.close()
    assert b"[DONE]" in tail, tail
    return [first, time.perf_counter() - began]


async def serve_client(port: int) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        began = time.perf_counter()
        answers = await asyncio.gather(*(stream(port, body) for body in json.loads(line)))
        print(json.dumps([[0.0, time.perf_counter() - began], *answers]), flush=True)


async def first_tokens(bench: Bench, client: Client, rounds: int) -> dict[str, Any]:
    """Milliseconds to the first token, p50, and what HTTP adds: the median of the pairs' differences."""
    figures: dict[str, Any] = {}
    for kind in ("cold", "warm"):
        pairs: list[tuple[float, float]] = []
        renders: list[float] = []
        for number in range(rounds):
            texts = [words(1), words(1)] if kind == "warm" else [words(2 * number + 1000), words(2 * number + 1001)]
            by_engine = by_http = 0.0
            for way in ("engine", "http") if number % 2 else ("http", "engine"):
                if way == "engine":
                    by_engine, rendering = await direct(bench, texts[0], 1, f"{kind}-{number}")
                    renders.append(rendering)
                else:
                    by_http = (await client.ask(body_of(bench.model, texts[1], 1)))[1][0]
            pairs.append((by_engine, by_http))
        figures[kind] = {
            "engine_p50_ms": round(1000 * statistics.median(pair[0] for pair in pairs), 2),
            "http_p50_ms": round(1000 * statistics.median(pair[1] for pair in pairs), 2),
            "added_p50_ms": round(1000 * statistics.median(http - engine for engine, http in pairs), 2),
            "of_it_rendering_p50_ms": round(1000 * statistics.median(renders), 2),
        }
    return figures


async def throughput(bench: Bench, client: Client, rounds: int) -> dict[str, Any]:
    """Tokens per second of 32 streams at once, straight from the engine and through HTTP in turn, each with prompts of
    its own; the ratio is the median over the rounds."""

    async def engine(texts: list[str], name: str) -> float:
        began = time.perf_counter()
        asked = (direct(bench, text, STREAM_TOKENS, f"{name}-{lane}") for lane, text in enumerate(texts))
        await asyncio.gather(*asked)
        return STREAMS * STREAM_TOKENS / (time.perf_counter() - began)

    async def http(texts: list[str], _name: str) -> float:
        answers = await client.ask(*(body_of(bench.model, text, STREAM_TOKENS) for text in texts))
        return STREAMS * STREAM_TOKENS / answers[0][1]

    measured: dict[str, list[float]] = {"engine": [], "http": []}
    for number in range(rounds):
        for place, way in enumerate((engine, http) if number % 2 else (http, engine)):
            seed = 100_000 + (2 * number + place) * STREAMS
            texts = [words(seed + lane, 24) for lane in range(STREAMS)]
            measured[way.__name__].append(await way(texts, f"{way.__name__}-{number}"))
    ratios = [http / engine for http, engine in zip(measured["http"], measured["engine"], strict=True)]
    return {
        "engine_tokens_s": round(statistics.median(measured["engine"]), 1),
        "http_tokens_s": round(statistics.median(measured["http"]), 1),
        "http_share_p50": round(statistics.median(ratios), 4),
    }


async def main(rounds: int) -> None:
    async with box() as bench:
        client = await Client.start(bench.port)
        await client.ask(body_of(bench.model, words(1), 1))
        await direct(bench, words(1), 1, "warm-up")
        figures = await first_tokens(bench, client, rounds)
        figures["streams_32"] = await throughput(bench, client, max(3, rounds // 8))
        await client.close()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--client", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        asyncio.run(serve_client(options.client))
    else:
        import uvloop

        uvloop.run(main(options.rounds))
