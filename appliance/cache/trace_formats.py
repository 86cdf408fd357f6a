"""Readers of recorded sessions: each turns one file into accesses, session by session.

| format | recognised by |
|---|---|
| our own record (`access_record.py`) | a first line with `"format": "dynamo-box-accesses"` |
| kv-cache-tester, Claude Code sessions | one JSON object with `hash_id_scope`; a folder of such files |
| Mooncake | lines with `timestamp` in ms, `input_length`, `hash_ids`; blocks of 512 tokens |
| pi-mono sessions | lines with `type` and `message` |
| LMCache agent traces, mini-swe-agent | lines with `timestamp` in µs, `session_id` and the whole prompt as `input` |

The last two are text. A token is taken to be four characters there, unless the record says how many there were.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.access_record import FORMAT, read_accesses
from appliance.cache.errors import TraceError
from appliance.cache.region import Region
from appliance.cache.trace import REGIONS, Access

TEXT_BLOCK_TOKENS = 64
CHARACTERS_PER_TOKEN = 4
MOONCAKE_BLOCK_TOKENS = 512
DECODE_TOKENS_PER_SECOND = 40.0
"""Where a trace does not say when a response ended."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Sessions as recorded. With `is_local_time` every session's clock starts at its own beginning."""

    block_tokens: int
    sessions: tuple[tuple[Access, ...], ...]
    is_local_time: bool = False


def read_recording(path: Path) -> Recording:
    """One file, or every file of a folder that holds a trace. Raises `TraceError`."""
    if not path.is_dir():
        return _read_file(path)
    names = sorted(file for file in path.iterdir() if file.suffixes[:1] in ([".json"], [".jsonl"]))
    if not names:
        raise TraceError(f"{path}: no .json or .jsonl file, plain or .gz, in this folder")
    parts = [_read_file(name) for name in names]
    if len({(part.block_tokens, part.is_local_time) for part in parts}) > 1:
        raise TraceError(f"{path}: the files of this folder have different block sizes or clocks")
    sessions = tuple(session for part in parts for session in part.sessions)
    return Recording(parts[0].block_tokens, sessions, parts[0].is_local_time)


def _read_file(path: Path) -> Recording:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    try:
        return _reader_of(text)(path, text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(f"{path}: not as its format has it: {type(error).__name__} {error}") from error


def _reader_of(text: str) -> Callable[[Path, str], Recording]:
    first = json.loads(text.partition("\n")[0] if "\n" in text.strip() else text)
    if first.get("format") == FORMAT:
        return _read_own
    if "hash_id_scope" in first:
        return _read_claude_code
    if "input_length" in first:
        return _read_mooncake
    if "session_id" in first and "input" in first:
        return _read_mini_swe
    if first.get("type") == "session":
        return _read_pi
    raise ValueError(f"a trace that begins with {', '.join(list(first)[:6])} is of no known format")


def _lines(text: str) -> Iterator[Any]:
    return (json.loads(line) for line in text.splitlines() if line.strip())


def _read_own(path: Path, text: str) -> Recording:
    block_tokens, accesses = read_accesses(path, text.splitlines())
    return Recording(block_tokens, _by_session(accesses))


def _by_session(accesses: Sequence[Access]) -> tuple[tuple[Access, ...], ...]:
    sessions: dict[str, list[Access]] = {}
    for access in sorted(accesses, key=lambda access: access.arrival_seconds):
        sessions.setdefault(access.session, []).append(access)
    return tuple(tuple(session) for session in sessions.values())


def _read_claude_code(path: Path, text: str) -> Recording:
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
    namespace = int.from_bytes(blake2b(name.encode(), digest_size=4).digest()) << 31
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


def _read_mooncake(path: Path, text: str) -> Recording:
    """Sessions are not named: a prompt that goes on where another one ended is that one's next turn."""
    accesses, ends = [], dict[int, str]()
    for number, row in enumerate(_lines(text)):
        keys, tokens, arrival = row["hash_ids"], row["input_length"], row["timestamp"] / 1000
        session = next((ends.pop(key) for key in reversed(keys) if key in ends), f"conversation-{number}")
        full_blocks = tokens // MOONCAKE_BLOCK_TOKENS
        if full_blocks:
            ends[keys[full_blocks - 1]] = session
        accesses.append(
            Access(
                session=session,
                arrival_seconds=arrival,
                end_seconds=arrival + row["output_length"] / DECODE_TOKENS_PER_SECOND,
                prompt_tokens=tokens,
                output_tokens=row["output_length"],
                block_keys=np.array(keys, dtype=np.int64),
                waits_for_tool=False,
            )
        )
    return Recording(MOONCAKE_BLOCK_TOKENS, _by_session(accesses))


def _read_mini_swe(path: Path, text: str) -> Recording:
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
    return Recording(TEXT_BLOCK_TOKENS, _by_session(accesses))


def _hash_text(text: str) -> NDArray[np.int64]:
    """Chained: a block's key holds everything before it."""
    step = TEXT_BLOCK_TOKENS * CHARACTERS_PER_TOKEN
    digest, keys = blake2b(digest_size=8), []
    for start in range(0, len(text) // step * step, step):
        digest.update(text[start : start + step].encode())
        keys.append(int.from_bytes(digest.digest(), signed=True))
    return np.array(keys, dtype=np.int64)


def _read_pi(path: Path, text: str) -> Recording:
    """The record says how many tokens a prompt had, not which. A prompt that is shorter than the one before it comes
    after a compaction, and is taken to be new."""
    entries = [entry for entry in _lines(text) if entry["type"] in ("session", "message")]
    name = str(entries[0]["id"])
    answers = [entry for entry in entries[1:] if _prompt_tokens(entry)]
    accesses, namespace, previous_tokens = [], 0, 0
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
                block_keys=np.arange(tokens // TEXT_BLOCK_TOKENS, dtype=np.int64) + (namespace << 31),
                waits_for_tool=message["stopReason"] == "toolUse",
            )
        )
    return Recording(TEXT_BLOCK_TOKENS, _by_session(accesses))


def _prompt_tokens(entry: dict[str, Any]) -> int:
    usage = entry.get("message", {}).get("usage", {})
    return int(usage.get("input", 0) + usage.get("cacheRead", 0) + usage.get("cacheWrite", 0))
