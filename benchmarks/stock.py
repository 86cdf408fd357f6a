"""An engine with our block pool against the stock one: the same tokens, throughput, and what had to go.

`python -m benchmarks.stock` starts one worker after the other (policy, stock, policy, stock) with the box before it,
and plays the same work with each, all greedy:

- alone: a few conversations, one request at a time, that fit into the cache. The tokens must be the same.
- together: many conversations at once that do not fit. Tokens a second, and the share read from cache. A lead with a
  long system prompt asks now and then in between; what it found in the cache tells whether it was kept.

`DYNAMO_BOX_…` variables say which model and how much memory. Each conversation's turns wait for one another.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from appliance.conversation import Identity
from benchmarks.first_token import Bench, body_of, box, words

TURN_WORDS = 200


class Shape(NamedTuple):
    """How much work."""

    alone: int
    together: int
    turns: int
    system_words: int
    answer_tokens: int


class Answer(NamedTuple):
    tokens: tuple[int, ...]
    prompt_tokens: int
    cached_tokens: int
    seconds: float


async def ask(bench: Bench, session: str, messages: Sequence[dict[str, Any]], max_tokens: int) -> tuple[Answer, str]:
    """One turn of this session; its answer as tokens and as text."""
    from appliance.api.chat import decode_conversation
    from appliance.generation import Finished

    began = time.perf_counter()
    body = body_of(bench.model, "", max_tokens) | {"messages": list(messages)}
    conversation = replace(decode_conversation(body, {}), identity=Identity(session_id=session))
    prepared = await bench.pipeline.prepare(conversation, f"{session}-{len(messages)}-{time.monotonic_ns()}")
    cached = 0
    async for event in prepared.events():
        if isinstance(event, Finished):
            cached = event.usage.cached_tokens
    tokens = tuple(prepared._parser.generated())  # noqa: SLF001 – the very tokens
    answer = Answer(tokens, prepared.prompt_tokens, cached, time.perf_counter() - began)
    return answer, bench.pipeline.renderer._renderer.get_tokenizer().decode(tokens)  # noqa: SLF001 – as above


async def converse(bench: Bench, name: str, seed: int, shape: Shape) -> list[Answer]:
    """All turns of one conversation, each with the whole history."""
    messages = [{"role": "system", "content": words(seed, shape.system_words)}]
    answers = []
    for turn in range(shape.turns):
        messages.append({"role": "user", "content": words(1000 * seed + turn, TURN_WORDS)})
        answer, text = await ask(bench, name, messages, shape.answer_tokens)
        answers.append(answer)
        messages.append({"role": "assistant", "content": text})
    return answers


async def lead(bench: Bench, shape: Shape, done: asyncio.Event) -> list[Answer]:
    """One session with a long prompt that asks the same again and again until the others are done."""
    messages = [{"role": "system", "content": words(7, 4 * shape.system_words)}, {"role": "user", "content": "Go on."}]
    answers = [(await ask(bench, "lead", messages, 4))[0]]
    while not done.is_set():
        answers.append((await ask(bench, "lead", messages, 4))[0])
        await asyncio.sleep(0.2)
    return answers


async def measure(policy: str, shape: Shape) -> dict[str, Any]:
    """What one engine made of the work."""
    async with box(cache__policy=policy) as bench:
        await converse(bench, "warm-up", 1, shape._replace(turns=1))
        alone = [await converse(bench, f"alone-{i}", 10 + i, shape) for i in range(shape.alone)]
        done = asyncio.Event()
        leading = asyncio.create_task(lead(bench, shape, done))
        began = time.perf_counter()
        many = (converse(bench, f"together-{i}", 100 + i, shape) for i in range(shape.together))
        together = [answer for answers in await asyncio.gather(*many) for answer in answers]
        seconds = time.perf_counter() - began
        done.set()
        led = await leading
        status = bench.running.status()
        blocks = bench.pipeline.workers.worker(0).kv_blocks
    prompt, cached = (sum(getattr(answer, name) for answer in together) for name in ("prompt_tokens", "cached_tokens"))
    return {
        "policy": policy,
        "kv_blocks": blocks,
        "alone": [answer.tokens for answers in alone for answer in answers],
        "output_tokens_s": round(sum(len(answer.tokens) for answer in together) / seconds, 1),
        "seconds": round(seconds, 2),
        "prompt_tokens": prompt,
        "read_from_cache": round(cached / prompt, 4),
        "lead_asked": len(led) - 1,
        "lead_least_cached": min((answer.cached_tokens / answer.prompt_tokens for answer in led[1:]), default=None),
        "lead_p50_ms": round(1000 * statistics.median(answer.seconds for answer in led[1:]), 1) if led[1:] else None,
        "evictions": [kind.model_dump() for kind in status.evictions.by_kind],
        "evictions_untold": status.evictions.dropped,
    }


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", type=int, default=3, help="conversations one after the other")
    parser.add_argument("--together", type=int, default=12, help="conversations at once")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--system-words", type=int, default=200, help="of each conversation's own system prompt")
    parser.add_argument("--answer-tokens", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=2, help="of runs: policy and stock in turn")
    options = parser.parse_args()
    shape = Shape(options.alone, options.together, options.turns, options.system_words, options.answer_tokens)
    texts: dict[str, set[str]] = {}
    rates: dict[str, list[float]] = {}
    for policy in ("coding-agent", "off") * options.pairs:
        figures = uvloop.run(measure(policy, shape))
        texts.setdefault(policy, set()).add(hashlib.sha256(json.dumps(figures.pop("alone")).encode()).hexdigest()[:12])
        rates.setdefault(policy, []).append(figures["output_tokens_s"])
        print(json.dumps(figures), flush=True)
    ours, stock = (statistics.median(rates[policy]) for policy in ("coding-agent", "off"))
    print(json.dumps({"tokens": {k: sorted(v) for k, v in texts.items()}, "share_of_stock": round(ours / stock, 4)}))


if __name__ == "__main__":
    main()
