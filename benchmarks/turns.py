"""Eight conversations of four turns at once: the share of prompt tokens read from cache from turn 2 on.

Run against a box that was started with the policy to measure:
`python -m benchmarks.turns http://127.0.0.1:8000`. The unbounded cache it is held against keeps every full block of
every earlier prompt and answer of the same conversation.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx

CONVERSATIONS = 8
TURNS = 4
ANSWER_TOKENS = 48
BLOCK_TOKENS = 32


async def converse(client: httpx.AsyncClient, model: str, number: int) -> list[dict[str, Any]]:
    """Play one conversation, resending the whole history; one record a turn."""
    messages: list[dict[str, str]] = []
    known_tokens, records = 0, []
    for turn in range(TURNS):
        text = f"Conversation {number}, turn {turn}. " + f"Explain topic {number * 10 + turn} in detail. " * 24
        messages.append({"role": "user", "content": text})
        body = {"model": model, "messages": messages, "max_tokens": ANSWER_TOKENS, "temperature": 0, "ignore_eos": True}
        began = time.monotonic()
        reply = (await client.post("/v1/chat/completions", json=body)).raise_for_status().json()
        usage = reply["usage"]
        prompt = usage["prompt_tokens"]
        possible = min(known_tokens, prompt - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        records.append({"turn": turn, "prompt": prompt, "cached": cached, "possible": possible})
        records[-1]["seconds"] = round(time.monotonic() - began, 3)
        known_tokens = prompt + usage["completion_tokens"] - 1
        messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})
    return records


async def main(base: str) -> None:
    async with httpx.AsyncClient(base_url=base, timeout=600) as client:
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        played = await asyncio.gather(*(converse(client, model, number) for number in range(CONVERSATIONS)))
    later = [record for records in played for record in records if record["turn"] > 0]
    sums = {name: sum(record[name] for record in later) for name in ("prompt", "cached", "possible", "seconds")}
    sums["share_of_unbounded"] = round(sums["cached"] / sums["possible"], 4)
    print(json.dumps(sums))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
