"""A request's body in a file, for commands that look at requests without a box."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
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
from appliance.conversation import Conversation
from appliance.errors import BoxError, InvalidRequest

MESSAGES_KINDS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking", "document"})


def read_body(file: str) -> Mapping[str, Any]:
    """The JSON object in a file, or from standard input for `-`."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise BoxError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return parse_object(data)
    except InvalidRequest as error:
        raise BoxError(f"{file}: {error.message}", hint="The file must hold the body of one request.") from error


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
