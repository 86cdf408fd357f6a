from __future__ import annotations

import re
import uuid

import pytest

from appliance.api.guard import Guard
from appliance.api.keys import Keys
from tests.unit.api.scripted import Connection, ScriptedBox, ScriptedInference, chat_body, client_of, new_app

PATHS = ["/health", "/ready", "/metrics", "/v1/models", "/nowhere", "/box/v1/status"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_carries_a_request_id(path: str) -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        response = await client.get(path)
    assert response.headers.get_list("x-request-id") == ["req_t1"]


@pytest.mark.parametrize(("own", "is_kept"), [("abc-1.2:3_4", True), ("x" * 129, False), ("a b", False), ("", False)])
async def test_a_sane_request_id_of_the_client_is_kept(own: str, is_kept: bool) -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        response = await client.get("/health", headers={"x-request-id": own})
    assert (response.headers["x-request-id"] == own) == is_kept


async def test_generated_ids_do_not_repeat_by_default() -> None:
    app = new_app(ScriptedInference(), new_token=lambda: uuid.uuid4().hex)
    async with client_of(app) as client:
        ids = [(await client.get("/health")).headers["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", request_id) for request_id in ids)


async def test_an_exception_in_a_route_is_500_in_shape_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ScriptedBox):
        def metrics(self) -> bytes:
            raise ZeroDivisionError("secret")

    async with client_of(new_app(ScriptedInference(), Broken())) as client:
        response = await client.get("/metrics")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert "secret" not in response.text
    assert sum(record.exc_info is not None for record in caplog.records) == 1


async def test_a_client_that_leaves_while_it_sends_is_told_nothing() -> None:
    inference = ScriptedInference()
    connection = Connection(new_app(inference), chat_body(), more_body=True)
    connection.leave()
    await connection.task
    assert connection.sent == []
    assert inference.conversations == []


async def test_other_scopes_pass_untouched() -> None:
    seen: list[object] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(scope)

    async def unused(*_: object) -> None:
        raise AssertionError

    scope = {"type": "lifespan"}
    await Guard(app, Keys(["k"]), lambda: "t")(scope, unused, unused)  # type: ignore[arg-type]  # never called
    assert seen == [{"type": "lifespan"}]
