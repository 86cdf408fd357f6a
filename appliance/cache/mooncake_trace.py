"""Mooncake's traces of a chat service: hashes of blocks of 512 tokens, no sessions, no ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from appliance.cache.recording import Recording, by_session
from appliance.cache.trace import Access
from appliance.cache.trace_lines import at_line, numbered_rows

BLOCK_TOKENS = 512
DECODE_TOKENS_PER_SECOND = 40.0
"""The trace does not say when a response ended."""


def read_mooncake(text: str) -> Recording:
    """Sessions are not named: a prompt that goes on where another one ended is that one's next turn."""
    accesses, ends = [], dict[int, str]()
    for number, row in numbered_rows(text):
        with at_line(number):
            accesses.append(_access(row, f"conversation-{number}", ends))
    return Recording(BLOCK_TOKENS, by_session(accesses), has_local_keys=True)


def _access(row: dict[str, Any], new_session: str, ends: dict[int, str]) -> Access:
    """`ends` has the session of each last full block so far, and goes on with this one's."""
    keys, tokens, arrival = row["hash_ids"], row["input_length"], row["timestamp"] / 1000
    session = next((ends.pop(key) for key in reversed(keys) if key in ends), new_session)
    full_blocks = tokens // BLOCK_TOKENS
    if full_blocks:
        ends[keys[full_blocks - 1]] = session
    return Access(
        session=session,
        arrival_seconds=arrival,
        end_seconds=arrival + row["output_length"] / DECODE_TOKENS_PER_SECOND,
        prompt_tokens=tokens,
        output_tokens=row["output_length"],
        block_keys=np.array(keys, dtype=np.int64),
        waits_for_tool=False,
    )
