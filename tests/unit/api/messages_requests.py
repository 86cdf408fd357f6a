"""What tests of the messages API share: the least request, a seal, and the official client on an app."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
from fastapi import FastAPI

from appliance.api.messages import decode_conversation
from appliance.api.seal import Seal
from appliance.conversation import Conversation

SEAL = Seal(bytes(range(32)))
USER_TURN: dict[str, Any] = {"role": "user", "content": "Hi"}


def messages_body(**fields: Any) -> dict[str, Any]:
    """The least request with these fields; `None` takes one away."""
    body = {"model": "org/small", "max_tokens": 2048, "messages": [USER_TURN], **fields}
    return {name: value for name, value in body.items() if value is not None}


def decode(**fields: Any) -> Conversation:
    return decode_conversation(messages_body(**fields), {}, SEAL)


def official_client(app: FastAPI) -> anthropic.AsyncAnthropic:
    http_client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://box")
    return anthropic.AsyncAnthropic(api_key="k", base_url="http://box", http_client=http_client, max_retries=0)
