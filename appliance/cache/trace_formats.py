"""Readers of recorded sessions: each turns one file into accesses, session by session.

| format | recognised by |
|---|---|
| our own record (`access_record.py`) | a first line with `"format": "dynamo-box-accesses"` |
| kv-cache-tester, Claude Code sessions | one JSON object with `hash_id_scope`; a folder of such files |
| Mooncake | lines with `timestamp` in ms, `input_length`, `hash_ids`; blocks of 512 tokens |
| pi-mono sessions | lines with `type` and `message` |
| LMCache agent traces, mini-swe-agent | lines with `timestamp` in µs, `session_id` and the whole prompt as `input` |
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.cache.access_record import FORMAT, read_accesses
from appliance.cache.claude_code_trace import read_claude_code
from appliance.cache.errors import TraceError
from appliance.cache.mooncake_trace import read_mooncake
from appliance.cache.recording import Recording, by_session
from appliance.cache.text_traces import read_mini_swe, read_pi
from appliance.cache.trace_lines import MALFORMED, LineError, problem_of

KNOWN_FORMATS = "the box's own record, kv-cache-tester, Mooncake, pi, mini-swe-agent"


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
    sessions = tuple(session for number, part in enumerate(parts) for session in part.in_folder(number))
    return Recording(parts[0].block_tokens, sessions, parts[0].is_local_time)


def _read_file(path: Path) -> Recording:
    text = _read_text(path)
    try:
        first, _ = json.JSONDecoder().raw_decode(text.lstrip())
        if isinstance(first, dict) and first.get("format") == FORMAT:
            block_tokens, accesses = read_accesses(path, text.splitlines())
            return Recording(block_tokens, by_session(accesses), has_local_keys=True)
        return _reader_of(first)(text)
    except LineError as error:
        raise TraceError(f"{path}:{error.line}: {error}") from error
    except MALFORMED as error:
        raise TraceError(f"{path}: {problem_of(error)}") from error


def _read_text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not text.strip():
        raise TraceError(f"{path}: the file is empty")
    return text


def _reader_of(first: Any) -> Callable[[str], Recording]:
    """By what only this format has in its first object."""
    if not isinstance(first, dict):
        raise TypeError(f"a trace begins with an object, not with {first!r:.40}; known formats: {KNOWN_FORMATS}")
    if "hash_id_scope" in first:
        return read_claude_code
    if "input_length" in first:
        return read_mooncake
    if "session_id" in first and "input" in first:
        return read_mini_swe
    if first.get("type") == "session":
        return read_pi
    raise ValueError(f"an object with {', '.join(list(first)[:6])} begins none of the known formats: {KNOWN_FORMATS}")
