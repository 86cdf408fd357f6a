"""Requests of the responses API and the codec that reads them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliance.api.diagnostics import Diagnostics
from appliance.api.documents import Documents
from appliance.api.fields import Fields
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_memory import MemoryStore
from appliance.api.responses_store import ResponseStore
from appliance.api.seal import KEY_BYTES, Seal
from appliance.conversation import Conversation
from tests.unit.api.scripted import tokens

SEAL = Seal(bytes(KEY_BYTES))
CREATED = 1_700_000_000


def new_codec(store: ResponseStore | None = None, documents: Documents | None = None) -> ResponsesCodec:
    return ResponsesCodec(
        store or MemoryStore(),
        seal=SEAL,
        diagnostics=Diagnostics(16),
        new_token=tokens(),
        clock=lambda: float(CREATED),
        documents=documents,
    )


def body_of(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "org/small", "input": list(items) or "Hi", **fields}


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


async def decoded(body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Conversation:
    return (await new_codec().read(Fields(body), headers or {})).conversation
