"""What an agent says beside its request means the same in each protocol, and nothing of it fails a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from appliance.api.chat import ChatCodec
from appliance.api.codec import Codec
from appliance.api.diagnostics import Diagnostics
from appliance.api.messages import MessagesCodec
from appliance.conversation import Conversation, Hints
from tests.unit.api.messages_requests import SEAL
from tests.unit.api.responses_requests import new_codec
from tests.unit.api.scripted import ScriptedInference, new_app

MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "org/small", "messages": MESSAGES},
    "/v1/messages": {"model": "org/small", "max_tokens": 9, "messages": MESSAGES},
    "/v1/responses": {"model": "org/small", "input": "Hi"},
}
protocols = pytest.mark.parametrize("path", BODIES)


def codec_of(path: str) -> Codec:
    if path == "/v1/messages":
        return MessagesCodec(ScriptedInference(), seal=SEAL, diagnostics=Diagnostics(4))
    return new_codec() if path == "/v1/responses" else ChatCodec(diagnostics=Diagnostics(4))


async def said(path: str, nvext: Any, headers: dict[str, str] | None = None) -> Conversation:
    return (await codec_of(path).decode(BODIES[path] | {"nvext": nvext}, headers or {})).conversation


@protocols
@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        ("priority", 7, Hints(priority=7)),
        ("priority", -7, Hints(priority=-7)),
        ("latency_sensitivity", 2.5, Hints(priority=3)),
        ("strict_priority", 2, Hints(strict_priority=2)),
        ("osl", 300, Hints(output_tokens=300)),
        ("output_tokens", 300, Hints(output_tokens=300)),
        ("speculative_prefill", True, Hints(speculative_prefill=True)),
        ("prefix_id", "agent", Hints(prefix_id="agent")),
        ("total_requests", 12, Hints(total_requests=12)),
        ("iat", 250, Hints(interarrival_seconds=0.25)),
        ("session_final", True, Hints(session_final=True)),
    ],
)
async def test_a_hint_is_understood_in_each_protocol(path: str, hint: str, value: Any, expected: Hints) -> None:
    arrived = await said(path, {"agent_hints": {hint: value}})
    assert arrived.hints == expected
    assert arrived.reporting.ignored == ()


@protocols
async def test_a_session_and_its_parent_are_understood_in_each_protocol(path: str) -> None:
    for arrived in (
        await said(path, {"agent_hints": {"session_id": "s", "parent_session_id": "p"}}),
        await said(path, None, {"x-dynamo-session-id": "s", "x-dynamo-parent-session-id": "p"}),
    ):
        assert (arrived.identity.session_id, arrived.identity.parent_session_id) == ("s", "p")


@protocols
@pytest.mark.parametrize("field", ["backend_instance_id", "decode_worker_id", "prefill_worker_id"])
async def test_a_worker_may_be_named_in_each_protocol(path: str, field: str) -> None:
    assert (await said(path, {field: 1})).hints.worker == 1
    assert (await said(path, {field: 1}, {"x-dynamo-worker-instance-id": "0"})).hints.worker == 0


@protocols
async def test_headers_are_understood_in_each_protocol(path: str) -> None:
    headers = {
        "x-dynamo-request-priority": "4",
        "x-dynamo-request-strict-priority": "1",
        "x-dynamo-session-final": "true",
    }
    assert (await said(path, None, headers)).hints == Hints(4, 1, session_final=True)


@protocols
@pytest.mark.parametrize(
    "hint",
    [
        "priority",
        "latency_sensitivity",
        "strict_priority",
        "osl",
        "output_tokens",
        "total_requests",
        "iat",
        "speculative_prefill",
        "session_final",
    ],
)
@pytest.mark.parametrize("value", [2**64, -(2**64), "high", "NaN", float("nan"), float("inf"), [], {}])
async def test_a_hint_that_makes_no_sense_counts_as_not_said_and_is_told(path: str, hint: str, value: Any) -> None:
    arrived = await said(path, {"agent_hints": {hint: value}})
    assert arrived.hints == Hints()
    assert [entry.field for entry in arrived.reporting.ignored] == [f"nvext.agent_hints.{hint}"]


@protocols
@pytest.mark.parametrize("hint", ["strict_priority", "osl", "output_tokens", "total_requests", "iat"])
async def test_what_cannot_be_negative_counts_as_not_said_then(path: str, hint: str) -> None:
    arrived = await said(path, {"agent_hints": {hint: -1}})
    assert arrived.hints == Hints()
    assert len(arrived.reporting.ignored) == 1


@protocols
@pytest.mark.parametrize(
    "headers",
    [
        {"x-dynamo-request-priority": "NaN"},
        {"x-dynamo-request-priority": "9" * 20},
        {"x-dynamo-request-strict-priority": "-1"},
        {"x-dynamo-worker-instance-id": "gpu-0"},
        {"x-dynamo-session-final": "perhaps"},
    ],
)
async def test_a_header_that_makes_no_sense_counts_as_not_sent_and_is_told(path: str, headers: dict[str, str]) -> None:
    arrived = await said(path, None, headers)
    assert arrived.hints == Hints()
    assert [entry.field for entry in arrived.reporting.ignored] == list(headers)


@protocols
async def test_over_http_the_answer_tells_what_was_understood_and_what_was_not(path: str) -> None:
    nvext = {
        "agent_hints": {"priority": 3, "osl": "long", "iat": -1},
        "extra_fields": ["agent_hints", "ignored"],
    }
    app = new_app(ScriptedInference())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
        response = await client.post(path, json=BODIES[path] | {"nvext": nvext})
    assert response.status_code == 200
    told = response.json()["nvext"]
    assert told["agent_hints"]["priority"] == 3
    assert {entry["field"] for entry in told["ignored"]} == {"nvext.agent_hints.osl", "nvext.agent_hints.iat"}
