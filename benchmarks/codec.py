"""What a turn of a long conversation costs before any engine sees it, and what a streamed token costs after.

`python -m benchmarks.codec` needs no engine. It sends one conversation of about 100,000 tokens again and again, each
time with another last message, through JSON, codec, stabiliser and renderer, in all three protocols, and through vLLM's
own chat path. Then 64 streams at once read what a scripted engine says, through the box and through vLLM's own server
(`benchmarks.streams`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from appliance.api.admission import Admission
from appliance.api.chat import ChatCodec, encode_request
from appliance.api.codec import Codec
from appliance.api.diagnostics import Diagnostics
from appliance.api.exchange import Service
from appliance.api.messages import MessagesCodec
from appliance.api.messages_encode import encode_request as encode_messages
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_encode import encode_request as encode_responses
from appliance.api.responses_memory import MemoryStore
from appliance.api.seal import KEY_BYTES, Seal
from appliance.conversation import (
    CacheMark,
    Conversation,
    Message,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from appliance.generation import Inference, ModelCard
from benchmarks.first_token import words
from benchmarks.model_side import Bench, prepared

TURNS = 77
TOOLS = 20
CONTEXT_TOKENS = 2**18
WARM_UP = 18
"""The renderer compares its first prompts with vLLM's; these are not measured."""


class Way(NamedTuple):
    """From the bytes of a request to a prompt: `take` returns how many tokens it has."""

    encode: Callable[[Conversation], Any]
    take: Callable[[bytes], Awaitable[int]]


def conversation(model: str, number: int) -> Conversation:
    """Turn `number`: the same history, another question at the end."""
    messages = [Message(Role.SYSTEM, (Text(words(9, 3000), CacheMark(300.0)),))]
    for turn in range(TURNS):
        call = ToolCall(f"c{turn}", "read", '{"path": "x"}')
        messages += [
            Message(Role.USER, (Text(words(turn, 400)),)),
            Message(Role.ASSISTANT, (Text(words(1000 + turn, 120)), call)),
            Message(Role.TOOL, (ToolResult(call.id, (Text(words(2000 + turn, 500)),)),)),
            Message(Role.ASSISTANT, (Text(words(4000 + turn, 60)),)),
        ]
    messages.append(Message(Role.USER, (Text(words(5000 + number, 200), CacheMark(300.0)),)))
    parameters = {"type": "object", "properties": {"a": {"type": "string", "description": words(7, 30)}}}
    tools = tuple(Tool(f"tool{place}", words(3000 + place, 100), parameters) for place in range(TOOLS))
    return Conversation(model, tuple(messages), tools, sampling=Sampling(max_tokens=10))


def box_way(bench: Bench, codec: Codec, encode: Callable[[Conversation], Any], service: Service) -> Way:
    async def take(request: bytes) -> int:
        parsed = await service.parse(request)
        call = await codec.decode(parsed.body, {}, parsed.offload)
        prompt = await bench.renderer.render(bench.stabiliser.apply(call.conversation).conversation)
        return len(prompt.token_ids)

    return Way(encode, take)


def vllm_way(bench: Bench) -> Way:
    """What `POST /v1/chat/completions` of vLLM does before it asks its engine, without its FastAPI."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.online_renderer import OnlineRenderer

    parsers = bench.renderer.parsers
    online = OnlineRenderer(
        bench.config.model_config,
        bench.own_base(),
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
        enable_auto_tools=parsers.tool_parser is not None,
        tool_parser=parsers.tool_parser,
        reasoning_parser=parsers.reasoning_parser,
    )

    async def take(request: bytes) -> int:
        _, prompts = await online.render_chat(ChatCompletionRequest.model_validate_json(request))
        return len(prompts[0]["prompt_token_ids"])

    return Way(encode_request, take)


class Counting:
    """What a codec asks of an inference before anything is generated."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def models(self) -> tuple[ModelCard, ...]:
        return (ModelCard(self._bench.model.served_name, CONTEXT_TOKENS, self._bench.model.created),)

    async def count_tokens(self, conversation: Conversation) -> int:
        return int(await self._bench.renderer.count(conversation))


def new_token() -> str:
    return uuid.uuid4().hex


def ways_of(bench: Bench) -> dict[str, Way]:
    seal, diagnostics = Seal(bytes(KEY_BYTES)), Diagnostics(64)
    inference = cast("Inference", Counting(bench))  # nothing is generated
    service = Service(inference, Admission(1), 2**24, 15.0, 60.0, time.time, new_token)
    responses = ResponsesCodec(MemoryStore(), seal=seal, diagnostics=diagnostics, new_token=new_token, clock=time.time)
    messages = MessagesCodec(inference, seal=seal, diagnostics=diagnostics)
    return {
        "chat": box_way(bench, ChatCodec(diagnostics=diagnostics), encode_request, service),
        "messages": box_way(bench, messages, encode_messages, service),
        "responses": box_way(bench, responses, encode_responses, service),
        "vllm": vllm_way(bench),
    }


@contextmanager
def longest_callback() -> Iterator[list[float]]:
    """The longest CPU time, in seconds, that one callback of the loop took: what the loop was held, on a machine that
    does nothing else."""
    longest = [0.0]
    run = asyncio.Handle._run  # noqa: SLF001 – the one place through which every callback goes

    def measured(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        longest[0] = max(longest[0], time.thread_time() - began)

    asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]  # noqa: SLF001 – as above
    try:
        yield longest
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001 – as above


async def turns(bench: Bench, rounds: int) -> dict[str, Any]:
    """From bytes to tokens: medians of the CPU time of all threads and of the time on the clock, and the longest time
    that a callback held the loop."""
    ways = ways_of(bench)
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    num_tokens = 0
    for number in range(-WARM_UP, rounds):
        for name, way in ways.items():
            if number < -2 and name != "chat":
                continue
            request = msgspec.json.encode(way.encode(conversation(bench.model.served_name, number + WARM_UP)))
            with longest_callback() as held:
                began = time.process_time(), time.perf_counter()
                num_tokens = await asyncio.ensure_future(way.take(request))
                cpu, clock = time.process_time() - began[0], time.perf_counter() - began[1]
            if number >= 0:
                taken[name].append((cpu, clock, held[0]))
    figures = {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in taken.items()}
    return {"prompt_tokens": num_tokens} | {
        name: {
            "cpu_ms": round(1000 * cpu, 1),
            "clock_ms": round(1000 * clock, 1),
            "loop_held_ms": round(1000 * held, 1),
            "share_of_vllm": round(cpu / figures["vllm"][0], 3),
        }
        for name, (cpu, clock, held) in figures.items()
    }


async def main(bench: Bench, rounds: int) -> None:
    from benchmarks.streams import streams

    print(json.dumps(await turns(bench, rounds), indent=2))
    print(json.dumps(await streams(bench, rounds), indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(main(prepared(Path(scratch), CONTEXT_TOKENS), options.rounds))
