from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.app import create_app
from tests.unit.api.scripted import ScriptedBox, ScriptedInference

ROUTE = "/box/v1/whatif"


async def ask(
    box: ScriptedBox, method: str, route: str = ROUTE, body: Any = None, client: str = "127.0.0.1"
) -> httpx.Response:
    app = create_app(ScriptedInference(), box, max_body_bytes=10_000, max_requests=1)
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://box") as http:
        return await http.request(method, route, json=body)


async def test_a_replay_is_started_looked_at_and_cancelled() -> None:
    box = ScriptedBox()
    started = (await ask(box, "POST", body={"policy": "chat", "last": 60, "by": "me"})).json()
    assert (started["id"], started["state"], started["outcomes"]) == ("w1", "running", None)
    assert box.replays.asked == [("chat", "mine", 60.0, "me")]
    assert (await ask(box, "GET")).json() == {"jobs": [started]}
    assert (await ask(box, "GET", f"{ROUTE}/w1")).json() == started
    assert (await ask(box, "DELETE", f"{ROUTE}/w1")).json()["state"] == "cancelled"
    assert (await ask(box, "GET", f"{ROUTE}/w2")).status_code == 404


async def test_a_text_is_replayed_over_half_an_hour_if_nothing_else_is_said() -> None:
    box = ScriptedBox()
    await ask(box, "POST", body={"text": "[[rule]]\npriority = 9", "name": "edited"})
    assert box.replays.asked == [("edited", "mine", 1800.0, "operator")]


@pytest.mark.parametrize(
    ("body", "message"),
    [({}, "policy"), ({"policy": "chatt"}, "did you mean chat?"), ({"policy": "chat", "last": 0}, "last: 0")],
)
async def test_what_is_wrong_is_told(body: Any, message: str) -> None:
    response = await ask(ScriptedBox(), "POST", body=body)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "route"), [("GET", ROUTE), ("POST", ROUTE), ("GET", f"{ROUTE}/w1"), ("DELETE", f"{ROUTE}/w1")]
)
async def test_strangers_may_not(method: str, route: str) -> None:
    assert (await ask(ScriptedBox(), method, route, {}, client="10.0.0.9")).status_code == 403
