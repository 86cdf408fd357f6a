"""Sessions recorded as text: mini-swe-agent's, with whole prompts, and pi's, with counts of tokens.

A token is taken to be four characters where the record does not say how many there were.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.recording import Recording, by_session
from appliance.cache.trace import Access
from appliance.cache.trace_lines import at_line, numbered_rows

BLOCK_TOKENS = 64
CHARACTERS_PER_TOKEN = 4
DECODE_TOKENS_PER_SECOND = 40.0
"""Where the record does not say when a response ended."""


def read_mini_swe(text: str) -> Recording:
    """A response ends when its tokens are decoded, at the latest with the next request."""
    starts = []
    for number, row in numbered_rows(text):
        with at_line(number):
            starts.append((row["timestamp"] / 1e6, number, row))
    starts.sort()
    limits = [*(start for start, _, _ in starts[1:]), float("inf")]
    accesses = []
    for (start, number, row), limit in zip(starts, limits, strict=True):
        with at_line(number):
            accesses.append(_mini_swe_access(row, start, limit))
    return Recording(BLOCK_TOKENS, by_session(accesses))


def _mini_swe_access(row: dict[str, Any], start_seconds: float, limit_seconds: float) -> Access:
    output_tokens = len(row["output"]) // CHARACTERS_PER_TOKEN
    return Access(
        session=row["session_id"],
        arrival_seconds=start_seconds,
        end_seconds=min(limit_seconds, start_seconds + output_tokens / DECODE_TOKENS_PER_SECOND),
        prompt_tokens=len(row["input"]) // CHARACTERS_PER_TOKEN,
        output_tokens=output_tokens,
        block_keys=_hash_text(row["input"]),
        waits_for_tool=limit_seconds < float("inf"),
    )


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
    name, previous_tokens, namespace = "", 0, 0
    accesses = []
    for number, entry in numbered_rows(text):
        with at_line(number):
            if entry["type"] == "session" and not name:
                name = str(entry["id"])
                namespace = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), signed=True) << 8
            tokens = _prompt_tokens(entry) if entry["type"] == "message" else 0
            if tokens:
                namespace += tokens < previous_tokens
                previous_tokens = tokens
                accesses.append(_pi_access(entry, name, tokens, namespace))
    return Recording(BLOCK_TOKENS, by_session(accesses))


def _pi_access(entry: dict[str, Any], session: str, tokens: int, namespace: int) -> Access:
    message = entry["message"]
    start = message["timestamp"] / 1000
    return Access(
        session=session,
        arrival_seconds=start,
        end_seconds=max(start, datetime.fromisoformat(entry["timestamp"]).timestamp()),
        prompt_tokens=tokens,
        output_tokens=message["usage"]["output"],
        block_keys=np.arange(tokens // BLOCK_TOKENS, dtype=np.int64) + (namespace << 23),
        waits_for_tool=message["stopReason"] == "toolUse",
    )


def _prompt_tokens(entry: dict[str, Any]) -> int:
    usage = entry.get("message", {}).get("usage", {})
    return int(usage.get("input", 0) + usage.get("cacheRead", 0) + usage.get("cacheWrite", 0))
