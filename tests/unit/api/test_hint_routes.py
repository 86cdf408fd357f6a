from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from appliance.api.hint_views import HintRequest
from tests.unit.api.scripted import ScriptedBox, ScriptedInference

ROUTE = "/box/v1/hints"


async def ask(
    box: ScriptedBox, method: str, route: str = ROUTE, body: Any = None, client: str = "127.0.0.1"
) -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.request(method, route, json=body)


async def test_a_hint_is_given_listed_and_withdrawn() -> None:
    box = ScriptedBox()
    body = {"verb": "pin", "session": "s", "token_start": 0, "token_end": 64, "expires_in": 60, "by": "me"}
    given = (await ask(box, "POST", body=body)).json()
    assert box.hint_desk.asked == [
        (HintRequest("pin", "s", token_start=0, token_end=64, expires_in=60.0, by="me"), False)
    ]
    assert (given["effect"], given["hint"]["id"]) == ("done", "h1")
    assert (await ask(box, "GET")).json() == {"hints": [given["hint"]]}
    withdrawn = (await ask(box, "DELETE", f"{ROUTE}/h1?by=you")).json()
    assert withdrawn == {"hint": given["hint"], "effect": "withdrawn by you"}
    assert (await ask(box, "DELETE", f"{ROUTE}/h1")).status_code == 404


async def test_hints_of_a_moment_are_asked_of_what_is_remembered() -> None:
    box = ScriptedBox()
    assert (await ask(box, "GET", f"{ROUTE}?at=12.5")).json() == {"hints": []}
    assert box.history_desk.asked == [12.5]


async def test_a_dry_run_is_passed_on() -> None:
    box = ScriptedBox()
    answer = (await ask(box, "POST", f"{ROUTE}?dry_run=true", {"verb": "release", "session": "s"})).json()
    assert box.hint_desk.asked == [(HintRequest("release", "s"), True)]
    assert (answer["dry_run"], answer["hint"], answer["effect"]) == (True, None, None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"session": "s"}, "verb is missing; use one of pin, release"),
        ({"verb": "pinn", "session": "s"}, "did you mean pin?"),
        ({"verb": "pin"}, "session is missing"),
        (
            {"verb": "pin", "session": "s", "priority": 101},
            "priority: 101 is not allowed; use an integer from 0 to 100",
        ),
        ({"verb": "pin", "session": "s", "token_start": 9, "token_end": 9}, "token_end: 9"),
        ({"verb": "pin", "session": "s", "expires_in": 0}, "expires_in: 0"),
        ({"verb": "pin", "session": "s", "expires_in": 1e9}, "a number above 0 to 604800"),
        ({"verb": "pin", "session": "s", "ttl_seconds": 5}, "ttl_seconds: 5 is not allowed; use it with ttl only"),
        ({"verb": "pin", "session": "s", "worker": 1}, "use it with prefetch only"),
        ({"verb": "ttl", "session": "s"}, "ttl_seconds is missing; use a number"),
        ({"verb": "priority", "session": "s"}, "priority is missing"),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(body: Any, message: str) -> None:
    box = ScriptedBox()
    response = await ask(box, "POST", body=body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert box.hint_desk.asked == []


async def test_what_operators_did_is_listed() -> None:
    box = ScriptedBox()
    actions = (await ask(box, "GET", "/box/v1/actions?limit=1")).json()["actions"]
    assert [(action["who"], action["effect"]) for action in actions] == [("me", None)]


@pytest.mark.parametrize(
    ("method", "route"), [("GET", ROUTE), ("POST", ROUTE), ("DELETE", f"{ROUTE}/h1"), ("GET", "/box/v1/actions")]
)
async def test_strangers_may_not(method: str, route: str) -> None:
    assert (await ask(ScriptedBox(), method, route, {}, client="10.0.0.9")).status_code == 403
