from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.conversation import Conversation
from tests.unit.api.scripted import DECISION, ScriptedBox, ScriptedInference, chat_body

ROUTE = "/box/v1/route"
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": chat_body(),
    "messages": {"model": "org/small", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "org/small", "input": "Hi"},
}


async def ask(
    box: ScriptedBox, method: str, path: str, client: tuple[str, int] = ("127.0.0.1", 5), **parts: Any
) -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.request(method, path, **parts)


@pytest.mark.parametrize("api", REQUESTS)
async def test_a_request_of_any_api_is_placed_and_nothing_is_generated(api: str) -> None:
    box = ScriptedBox()
    headers = {"x-dynamo-session-id": "s"}
    placed = await ask(box, "POST", ROUTE, json={"api": api, "request": REQUESTS[api]}, headers=headers)
    assert placed.status_code == 200
    assert placed.json()["worker"] == 0
    assert placed.json()["candidates"][0]["overlap"] == {"gpu": 16, "host": 32, "disk": 32, "remote": 32}
    assert placed.json()["reservation"] is None
    (asked,) = box.desk.asked
    assert isinstance(asked, Conversation)
    assert (asked.model, asked.identity.session_id) == ("org/small", "s")


async def test_tokens_are_placed_as_they_are() -> None:
    box = ScriptedBox()
    assert (await ask(box, "POST", ROUTE, json={"token_ids": [1, 2, 2**32 - 1]})).status_code == 200
    assert [list(asked) for asked in box.desk.asked if not isinstance(asked, Conversation)] == [[1, 2, 2**32 - 1]]


async def test_a_place_is_reserved_for_a_time_and_freed_once() -> None:
    box = ScriptedBox()
    first = (await ask(box, "POST", ROUTE, json={"token_ids": [1], "reserve": True})).json()
    assert first["reservation"] == {"id": "p1", "expires_in_seconds": 30.0}
    second = (await ask(box, "POST", ROUTE, json={"token_ids": [1], "reserve": True, "seconds": 5})).json()
    assert second["reservation"] == {"id": "p2", "expires_in_seconds": 5.0}
    freed = await ask(box, "DELETE", f"{ROUTE}/p1")
    assert (freed.status_code, freed.json()) == (200, {"id": "p1", "freed": True})
    again = await ask(box, "DELETE", f"{ROUTE}/p1")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "no_reservation")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "api is missing; use one of chat, messages, responses, with a request; or token_ids"),
        ({"api": "chatt", "request": {}}, "did you mean chat?"),
        ({"api": "chat"}, "request is missing"),
        ({"api": "chat", "request": {"model": "org/small"}}, "messages"),
        ({"token_ids": [1], "request": {}}, "exclude each other"),
        ({"token_ids": [-1]}, "integers from 0 to 4294967295"),
        ({"token_ids": ["a"]}, "integers from 0 to 4294967295"),
        ({"token_ids": [2**32]}, "integers from 0 to 4294967295"),
        ({"token_ids": [1], "reserve": "yes"}, "true or false"),
        ({"token_ids": [1], "reserve": True, "seconds": 0}, "a number above 0 to 600"),
        ({"token_ids": [1], "reserve": True, "seconds": 601}, "a number above 0 to 600"),
    ],
)
async def test_what_is_wrong_with_a_question_is_told(body: Any, message: str) -> None:
    box = ScriptedBox()
    answer = await ask(box, "POST", ROUTE, json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert box.desk.reserve_seconds == {}


async def test_the_newest_decisions_are_listed() -> None:
    listed = await ask(ScriptedBox(), "GET", "/box/v1/routing?limit=2")
    assert len(listed.json()["decisions"]) == 2
    assert listed.json()["totals"]["regret_seconds"] == 0.5
    assert (await ask(ScriptedBox(), "GET", "/box/v1/routing?limit=0")).status_code == 400


async def test_the_decisions_about_a_request_are_found_by_the_id_of_its_answer() -> None:
    found = (await ask(ScriptedBox(), "GET", f"/box/v1/routing/{DECISION.request_id}")).json()
    assert found["decisions"][0]["outcome"]["cached_tokens"] == 32
    missing = await ask(ScriptedBox(), "GET", "/box/v1/routing/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_decision")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/box/v1/routing"), ("GET", "/box/v1/routing/r"), ("POST", ROUTE), ("DELETE", f"{ROUTE}/p1")],
)
async def test_only_who_is_on_this_machine_may_ask(method: str, path: str) -> None:
    assert (await ask(ScriptedBox(), method, path, client=("192.0.2.7", 5))).status_code == 403
