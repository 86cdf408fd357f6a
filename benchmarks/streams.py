"""CPU time of the server for each token that it streams: the box, and vLLM's own server over the same engine."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import uvicorn

from appliance.endpoint import bind_tcp
from appliance.records import Recorder
from appliance.router.hashing import Hashes
from appliance.router.room import Capacity
from benchmarks.first_token import Client, body_of, words
from benchmarks.model_side import Bench
from benchmarks.scripted_engine import ScriptedEngine

STREAMS = 64
TOKENS = 128


class OneWorker:
    """`pipeline.Workers` with one that never dies."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def worker(self, _: int) -> Any:
        return self._worker

    def dead(self) -> frozenset[int]:
        return frozenset()

    def ids(self) -> frozenset[int]:
        return frozenset({0})

    def capacity(self, _: int) -> Capacity:
        return Capacity(self._worker.seats, self._worker.step_tokens, None)

    def kv_usage(self, _: int) -> float | None:
        return None

    def protect(self, _: int, __: str, ___: Hashes) -> None:
        pass

    def release(self, _: int, __: str) -> None:
        pass

    async def any_ready(self, _: float) -> bool:
        return True


def pieces_of(bench: Bench) -> list[tuple[int, str]]:
    """Tokens of some text, each with what it adds to the text."""
    tokenizer = bench.base.get_tokenizer()
    return [(token, tokenizer.decode([token])) for token in tokenizer.encode(words(77, 2 * TOKENS))]


def box_app(bench: Bench, engine: ScriptedEngine | None = None, recorder: Recorder | None = None) -> Any:
    """The HTTP side and the pipeline of a box over a scripted engine; the `recorder` takes what became of requests."""
    from appliance.accounting import Accounts
    from appliance.api.app import create_app
    from appliance.box import RunningBox
    from appliance.engine.parsing import AnswerParser
    from appliance.engine.worker import Worker
    from appliance.explainer import Explainer
    from appliance.generation import ModelCard
    from appliance.pipeline import Pipeline, Reading
    from appliance.request_book import RequestBook
    from appliance.router.index import PrefixIndex
    from appliance.router.router import Router, RoutingPolicy

    worker = Worker(bench.plan, bench.config)
    worker._llm = cast("Any", engine or ScriptedEngine(bench.config, bench.base, pieces_of(bench)))  # noqa: SLF001 – in place of a real one
    router = Router(
        PrefixIndex(),
        workers=(0,),
        policy=RoutingPolicy.KV,
        block_tokens=int(bench.config.cache_config.block_size),
        random=random.Random(1),  # noqa: S311 – breaks ties
    )
    card = ModelCard(bench.model.served_name, bench.renderer.context_tokens, bench.model.created)
    reading = Reading(bench.renderer, AnswerParser, bench.stabiliser)
    pipeline = Pipeline(card, reading, router, cast("Any", OneWorker(worker)), Accounts())
    pipeline.book = RequestBook(Explainer(pipeline.router.block_tokens), recorder)
    box = RunningBox("", bench.model.served_name, bench.model.source)
    return create_app(pipeline, box, max_body_bytes=64 << 20, max_requests=256)


async def vllm_app(bench: Bench) -> Any:
    """What `vllm serve` would serve."""
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parsers = bench.renderer.parsers
    options = ["--model", bench.model.source, "--served-model-name", bench.model.served_name]
    if parsers.tool_parser is not None:
        options += ["--enable-auto-tool-choice", "--tool-call-parser", parsers.tool_parser]
    if parsers.reasoning_parser is not None:
        options += ["--reasoning-parser", parsers.reasoning_parser]
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(options)
    validate_parsed_serve_args(arguments)
    engine = ScriptedEngine(bench.config, bench.own_base(), pieces_of(bench))
    app = build_app(arguments, ("generate",), bench.config.model_config)
    await init_app_state(engine, app.state, arguments, ("generate",))
    return app


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    listener = bind_tcp("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def streams(bench: Bench, rounds: int) -> dict[str, Any]:
    """Microseconds of CPU a token, medians: 64 streams at once, asked for by a client that is a process of its own."""
    taken: dict[str, list[float]] = {"box": [], "vllm": []}
    async with served(box_app(bench)) as box, served(await vllm_app(bench)) as vllm:
        clients = {"box": await Client.start(box), "vllm": await Client.start(vllm)}
        for number in range(-2, rounds):
            for name, client in clients.items():
                seeds = range(1000 * number, 1000 * number + STREAMS)
                began = time.process_time()
                await client.ask(*(body_of(bench.model.served_name, words(seed, 24), TOKENS) for seed in seeds))
                if number >= 0:
                    taken[name].append(1e6 * (time.process_time() - began) / (STREAMS * TOKENS))
        for client in clients.values():
            await client.close()
    box_us, vllm_us = (statistics.median(values) for values in taken.values())
    return {
        "box_cpu_us_a_token": round(box_us, 1),
        "vllm_cpu_us_a_token": round(vllm_us, 1),
        "share_of_vllm": round(box_us / vllm_us, 3),
    }
