"""`dynamo-box stabilise`: what the box would change in a request so that more of it is found in the cache."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.api.asgi import parse_object
from appliance.api.chat import ChatCodec
from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import Documents
from appliance.api.fields import Fields
from appliance.api.messages import read_conversation
from appliance.api.messages_documents import pdf_sources
from appliance.api.messages_reading import Reading
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_memory import MemoryStore
from appliance.api.seal import KEY_BYTES, Seal
from appliance.commands.context import read_context
from appliance.conversation import Conversation
from appliance.errors import BoxError, InvalidRequest
from appliance.stabiliser.rule import Change
from appliance.stabiliser.rules import select_rules
from appliance.stabiliser.stabiliser import Stabiliser
from appliance.stabiliser.transcript import transcript

MESSAGES_KINDS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking", "document"})


def run(options: argparse.Namespace) -> int:
    settings = read_context(options).loaded.settings
    body = _read_body(options.file)
    api = options.api or guess_api(body)
    before = asyncio.run(decode(body, api))
    after, changes = Stabiliser(select_rules(settings.stabiliser.rules)).apply(before)
    diff = _diff(options.file, before, after)
    if options.json:
        print(json.dumps({"api": api, "changes": [asdict(change) for change in changes], "diff": diff}, indent=2))
    else:
        print("\n".join([*diff, *_summary(changes)]))
    return 0


def guess_api(body: Mapping[str, Any]) -> str:
    """Which protocol a request body is of, from what only one of them has. Never fails, whatever the body holds."""
    if "messages" not in body and "input" in body:
        return "responses"
    parts = [part for message in _objects(body, "messages") for part in _objects(message, "content")]
    if (
        "system" in body
        or any("input_schema" in tool for tool in _objects(body, "tools"))
        or any(part.get("type") in MESSAGES_KINDS for part in parts)
    ):
        return "messages"
    return "chat"


def _objects(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values = holder.get(name)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


async def decode(body: Mapping[str, Any], api: str) -> Conversation:
    """As the box itself would, but for what needs its memory or its model: thoughts that it has sealed stay closed,
    earlier responses are not known, and nothing is cleared from a long context. Raises `InvalidRequest`."""
    diagnostics, seal = Diagnostics(1), Seal(os.urandom(KEY_BYTES))
    if api == "messages":
        return await _decode_messages(body, seal)
    if api == "responses":
        codec = ResponsesCodec(MemoryStore(), seal=seal, diagnostics=diagnostics, new_token=str, clock=time.time)
        return (await codec.decode(body, {})).conversation
    return (await ChatCodec(diagnostics=diagnostics).decode(body, {})).conversation


async def _decode_messages(body: Mapping[str, Any], seal: Seal) -> Conversation:
    fields = Fields(body)
    texts = await Documents().read(pdf_sources(fields))
    return read_conversation(fields, {}, Reading(seal, texts), counts_only=False)


def _read_body(file: str) -> Mapping[str, Any]:
    """The JSON object in a file, or from standard input for `-`."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise BoxError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return parse_object(data)
    except InvalidRequest as error:
        raise BoxError(f"{file}: {error.message}", hint="The file must hold the body of one request.") from error


def _diff(name: str, before: Conversation, after: Conversation) -> list[str]:
    return list(
        difflib.unified_diff(
            transcript(before), transcript(after), f"{name} as sent", f"{name} as rendered", lineterm=""
        )
    )


def _summary(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return ["nothing to change"]
    return [
        f"{change.rule}: {change.action} {change.characters} characters of {change.place}: {change.excerpt}"
        for change in changes
    ]
