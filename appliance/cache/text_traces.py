"""Sessions recorded as text: mini-swe-agent's, with whole prompts, and pi's, with counts of tokens.

A token is taken to be four characters where the record does not say how many there were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.recording import Recording, by_session
from appliance.cache.trace import Access

BLOCK_TOKENS = 64
CHARACTERS_PER_TOKEN = 4
DECODE_TOKENS_PER_SECOND = 40.0
"""Where the record does not say when a response ended."""


def _lines(text: str) -> Iterator[Any]:
    return (json.loads(line) for line in text.splitlines() if line.strip())


def read_mini_swe(text: str) -> Recording:
    rows = sorted(_lines(text), key=lambda row: int(row["timestamp"]))
    starts = [row["timestamp"] / 1e6 for row in rows]
    accesses = []
    for row, start, limit in zip(rows, starts, [*starts[1:], float("inf")], strict=True):
        output_tokens = len(row["output"]) // CHARACTERS_PER_TOKEN
        accesses.append(
            Access(
                session=row["session_id"],
                arrival_seconds=start,
                end_seconds=min(limit, start + output_tokens / DECODE_TOKENS_PER_SECOND),
                prompt_tokens=len(row["input"]) // CHARACTERS_PER_TOKEN,
                output_tokens=output_tokens,
                block_keys=_hash_text(row["input"]),
                waits_for_tool=limit < float("inf"),
            )
        )
    return Recording(BLOCK_TOKENS, by_session(accesses))


def _hash_text(text: str) -> NDArray[np.int64]:
    """Chained: a block's key holds everything before it."""
    step = BLOCK_TOKENS * CHARACTERS_PER_TOKEN
    digest, keys = blake2b(digest_size=8), []
    for start in range(0, len(text) // step * step, step):
        digest.update(text[start : start + step].encode())
        keys.append(int.from_bytes(digest.digest(), signed=True))
    return np.array(keys, dtype=np.int64)


def read_pi(text: str) -> Recording:
    """The record says how many tokens a prompt had, not which. A prompt that is shorter than the one before it comes
    after a compaction, and is taken to be new."""
    entries = [entry for entry in _lines(text) if entry["type"] in ("session", "message")]
    name = str(entries[0]["id"])
    answers = [entry for entry in entries[1:] if _prompt_tokens(entry)]
    accesses, previous_tokens = [], 0
    namespace = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), signed=True) << 8
    for entry in answers:
        message, tokens = entry["message"], _prompt_tokens(entry)
        namespace += tokens < previous_tokens
        previous_tokens = tokens
        start = message["timestamp"] / 1000
        accesses.append(
            Access(
                session=name,
                arrival_seconds=start,
                end_seconds=max(start, datetime.fromisoformat(entry["timestamp"]).timestamp()),
                prompt_tokens=tokens,
                output_tokens=message["usage"]["output"],
                block_keys=np.arange(tokens // BLOCK_TOKENS, dtype=np.int64) + (namespace << 23),
                waits_for_tool=message["stopReason"] == "toolUse",
            )
        )
    return Recording(BLOCK_TOKENS, by_session(accesses))


def _prompt_tokens(entry: dict[str, Any]) -> int:
    usage = entry.get("message", {}).get("usage", {})
    return int(usage.get("input", 0) + usage.get("cacheRead", 0) + usage.get("cacheWrite", 0))
