from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from appliance.conversation import LOWEST_PRIORITY, Hints, Identity, OutputFormat, Sampling, ToolChoiceMode
from appliance.errors import NotReady, TooManyRequests
from tests.unit.api.scripted import STARTED, ScriptedInference, Step, new_app

MESSAGES = [{"role": "user", "content": "Hi"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {"model": "org/small", "messages": MESSAGES},
    "messages": {"model": "org/small", "max_tokens": 9, "messages": MESSAGES},
    "responses": {"model": "org/small", "input": "Hi"},
}


async def warm(inference: ScriptedInference, body: Any, *, client: str = "127.0.0.1") -> httpx.Response:
    transport = httpx.ASGITransport(new_app(inference), client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.post("/box/v1/warm", json=body)


@pytest.mark.parametrize("api", REQUESTS)
async def test_a_prompt_of_each_protocol_is_read_and_its_tokens_are_told(api: str) -> None:
    inference = ScriptedInference()
    response = await warm(inference, {"api": api, "request": REQUESTS[api]})
    assert response.status_code == 200
    assert response.json() == {"prompt_tokens": 40, "cached_tokens": 32, "worker": 0}
    (conversation,) = inference.conversations
    assert conversation.messages[-1].blocks[0].text == "Hi"  # type: ignore[union-attr]  # a text, as the next line tells
    assert (conversation.sampling, inference.num_open) == (Sampling(max_tokens=1), 0)


async def test_it_waits_for_everything_else_and_is_nobodys_turn_but_the_prompt_is_the_same() -> None:
    inference = ScriptedInference()
    asked = REQUESTS["chat"] | {
        "max_tokens": 500,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "nvext": {"agent_hints": {"priority": 9, "osl": 500, "speculative_prefill": True, "session_id": "s"}},
    }
    await warm(inference, {"api": "chat", "request": asked, "worker": 1})
    (conversation,) = inference.conversations
    assert conversation.hints == Hints(priority=LOWEST_PRIORITY, worker=1)
    assert conversation.identity.session_id is None
    assert (conversation.output_format, len(conversation.tools)) == (OutputFormat(), 1)
    assert conversation.tool_choice is not None
    assert conversation.tool_choice.mode is ToolChoiceMode.AUTO
    assert isinstance(conversation.identity, Identity)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"request": REQUESTS["chat"]}, "api", "api"),
        ({"api": "chatt", "request": REQUESTS["chat"]}, "api", "Did you mean 'chat'?"),
        ({"api": "chat"}, "request", "as an object"),
        ({"api": "chat", "request": "hi"}, "request", "as an object"),
        ({"api": "chat", "request": {"model": "org/small"}}, "messages", "messages"),
        ({"api": "chat", "request": REQUESTS["chat"], "worker": -1}, "worker", "worker"),
        ({"api": "chat", "request": REQUESTS["chat"], "worker": "one"}, "worker", "worker"),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(body: Any, param: str, message: str) -> None:
    inference = ScriptedInference()
    response = await warm(inference, body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert message in response.json()["error"]["message"]
    assert inference.conversations == []


async def test_only_who_is_on_this_machine_may_warm() -> None:
    inference = ScriptedInference()
    response = await warm(inference, {"api": "chat", "request": REQUESTS["chat"]}, client="192.0.2.7")
    assert (response.status_code, inference.conversations) == (403, [])
    assert "prompts can be warmed up from the box's own machine only" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("refusal", "status"), [(NotReady("starting"), 503), (TooManyRequests("full", retry_after_seconds=3), 429)]
)
async def test_a_refusal_is_told(refusal: Exception, status: int) -> None:
    response = await warm(ScriptedInference(refusal=refusal), {"api": "chat", "request": REQUESTS["chat"]})
    assert response.status_code == status
    assert "retry-after" in response.headers


@pytest.mark.parametrize("script", [[], [RuntimeError("bug")], [STARTED, RuntimeError("bug")]])
async def test_a_prompt_that_was_not_read_is_an_error(script: Sequence[Step]) -> None:
    inference = ScriptedInference(script)
    response = await warm(inference, {"api": "chat", "request": REQUESTS["chat"]})
    assert (response.status_code, inference.num_open) == (500, 0)
