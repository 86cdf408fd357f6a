"""Claude Code sessions as kv-cache-tester records them: hashes of blocks, no text; each session has its own clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.recording import Recording
from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, Access


def read_claude_code(text: str) -> Recording:
    """Each subagent is a session of its own; numbers of blocks mean nothing outside their session."""
    facts = json.loads(text)
    name = str(facts["id"])
    own_rows = [row for row in facts["requests"] if row["type"] != "subagent"]
    sessions = [_claude_code_session(name, 0.0, facts | {"requests": own_rows}, facts["block_size"])]
    for row in facts["requests"]:
        if row["type"] == "subagent":
            session_name, start_seconds = f"{name}/{row['agent_id']}", float(row["t"])
            sessions.append(_claude_code_session(session_name, start_seconds, row, facts["block_size"]))
    return Recording(facts["block_size"], tuple(session for session in sessions if session), is_local_time=True)


def _claude_code_session(
    name: str, start_seconds: float, facts: dict[str, Any], block_tokens: int
) -> tuple[Access, ...]:
    namespace = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), signed=True) << 31
    rows = sorted(facts["requests"], key=lambda row: float(row["t"]))
    regions = _claude_code_regions(rows, facts["tool_tokens"], facts["system_tokens"], block_tokens)
    return tuple(
        Access(
            session=name,
            arrival_seconds=start_seconds + row["t"],
            end_seconds=start_seconds + row["t"] + (row.get("api_time") or 0.0),
            prompt_tokens=row["in"],
            output_tokens=row["out"],
            block_keys=np.array(row["hash_ids"], dtype=np.int64) + namespace,
            waits_for_tool=row["stop"] == "tool_use",
            regions=of_prompt,
        )
        for row, of_prompt in zip(rows, regions, strict=True)
    )


def _claude_code_regions(
    rows: Sequence[dict[str, Any]], tool_tokens: int, system_tokens: int, block_tokens: int
) -> Iterator[NDArray[np.uint8]]:
    """Inferred. A prompt begins with tools and system; what it has beyond the previous prompt is first that one's
    answer, then what came in."""
    first_user_token = tool_tokens + system_tokens
    head = [(Region.TOOLS, tool_tokens), (Region.SYSTEM, first_user_token), (Region.USER, sys.maxsize)]
    before = np.zeros(0, dtype=np.uint8)
    for row, answered in zip(rows, [None, *rows], strict=False):
        spans = head
        if answered is not None:
            incoming = Region.TOOL_RESULT if "tool_result" in row["input_types"] else Region.USER
            spans = [*head[:2], (Region.ASSISTANT, answered["in"] + answered["out"]), (incoming, sys.maxsize)]
        starts = np.arange(len(row["hash_ids"])) * block_tokens
        ends = [end for _, end in spans]
        regions = np.array([REGIONS.index(region) for region, _ in spans], dtype=np.uint8)[
            np.searchsorted(ends, starts, side="right")
        ]
        kept = _common_blocks(row["hash_ids"], answered["hash_ids"]) if answered is not None else 0
        regions[:kept] = before[:kept]
        before = regions
        yield regions


def _common_blocks(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
