"""Time to first token of every fifth request under load: with `priority`, and the same without.

Run against a box with the default configuration, with so many clients at once:
`python -m benchmarks.priority http://127.0.0.1:8000 24`. Each asks one request after the other, all with prompts that
nobody has seen; rounds in which the fifth are tagged take turns with rounds in which they are not. What else the
machine does falls on both only roughly: compare the chosen with the others of the same rounds. Prints after each pair
the medians, and how many requests found no place at once and how many were set aside, by the box's own count: a load
under which hardly anybody waits shows nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from statistics import median
from typing import Any, NamedTuple

import httpx

REQUESTS = 5
"""Of one client in one round; the first of them is chosen."""
PAIRS = 2
PRIORITY = 10
ANSWER_TOKENS = 8
REPEATS = 40
"""Of a sentence in a prompt, which takes some twelve tokens each time."""


class Sample(NamedTuple):
    is_tagged_round: bool
    is_chosen: bool
    first_token_seconds: float


def body_of(model: str, name: str, priority: int) -> dict[str, Any]:
    hints = {"nvext": {"agent_hints": {"priority": priority}}} if priority else {}
    text = f"Request {name}. " + f"Explain topic {name} in detail. " * REPEATS
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        **hints,
    }


async def first_token_seconds(client: httpx.AsyncClient, body: dict[str, Any]) -> float:
    """The answer is read to its end."""
    began, first = time.monotonic(), None
    async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if (
                first is None
                and line.startswith("data: ")
                and json.loads(line[6:])["choices"][0]["delta"].get("content")
            ):
                first = time.monotonic() - began
    assert first is not None
    return first


async def play(client: httpx.AsyncClient, model: str, number: int, client_number: int, *, tagged: bool) -> list[Sample]:
    samples = []
    for request in range(REQUESTS):
        # Each client has its chosen one at another time.
        is_chosen = (request + client_number) % REQUESTS == 0
        priority = PRIORITY if tagged and is_chosen else 0
        body = body_of(model, f"{number}-{client_number}-{request}", priority)
        samples.append(Sample(tagged, is_chosen, await first_token_seconds(client, body)))
    return samples


def medians(samples: list[Sample]) -> dict[str, float | int]:
    """Seconds, by kind of round and of request."""
    found: dict[str, float | int] = {}
    for tagged in (False, True):
        for chosen in (True, False):
            name = f"{'tagged' if tagged else 'plain'} rounds, {'chosen' if chosen else 'others'}"
            found[name] = round(median(seconds for *kind, seconds in samples if kind == [tagged, chosen]), 2)
    return found


class Queue(NamedTuple):
    """What the box has counted."""

    at_once: int
    waited: int
    set_aside: int

    def since(self, before: Queue) -> dict[str, int]:
        return {name: now - then for name, now, then in zip(self._fields, self, before, strict=True)}


async def queue(client: httpx.AsyncClient) -> Queue:
    told = (await client.get("/box/v1/status")).raise_for_status().json()["queue"]
    at_once, *waited = told["waits"]
    return Queue(at_once, sum(waited), told["set_aside"])


async def main(base: str, num_clients: int) -> None:
    limits = httpx.Limits(max_connections=num_clients)
    samples: list[Sample] = []
    async with httpx.AsyncClient(base_url=base, timeout=600, limits=limits) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        before = await queue(client)
        for number in range(2 * PAIRS):
            tagged = number % 2 == 1
            plays = (play(client, model, number, each, tagged=tagged) for each in range(num_clients))
            samples += [sample for played in await asyncio.gather(*plays) for sample in played]
            if tagged:
                print(json.dumps(medians(samples) | (await queue(client)).since(before)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
