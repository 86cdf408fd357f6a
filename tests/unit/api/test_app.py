from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.api.views import BoxStatus
from appliance.errors import ContextTooLong
from tests.unit.api.scripted import ScriptedBox, ScriptedInference, chat_body, client_of, new_app


async def get(path: str, box: ScriptedBox | None = None, **options: Any) -> httpx.Response:
    async with client_of(new_app(ScriptedInference(), box, **options)) as client:
        return await client.get(path)


async def test_health_is_ok_while_the_process_answers() -> None:
    response = await get("/health", ScriptedBox(is_ready=False, phase="startup"))
    assert (response.status_code, response.json()) == (200, {"status": "ok", "phase": "startup"})


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_ready_tells_how_many_workers_run(is_ready: bool, status: int) -> None:
    response = await get("/ready", ScriptedBox(is_ready=is_ready, worker_phases=("running", "starting")))
    assert response.status_code == status
    assert response.json() == {"ready": is_ready, "phase": "running", "workers_ready": 1, "workers_total": 2}


async def test_metrics_are_prometheus_text() -> None:
    response = await get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text == "dynamo_box_up 1\n"


async def test_status_is_the_view_model() -> None:
    box = ScriptedBox()
    assert BoxStatus.model_validate_json((await get("/box/v1/status", box)).content) == box.status()


async def test_models_carry_the_context_length_under_both_names() -> None:
    (model,) = (await get("/v1/models")).json()["data"]
    assert model == (await get("/v1/models/org/small")).json()
    assert (model["id"], model["object"], model["max_model_len"], model["context_window"]) == (
        "org/small",
        "model",
        8192,
        8192,
    )


async def test_an_unknown_model_is_404_and_names_the_one_there_is() -> None:
    response = await get("/v1/models/org/smal")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"
    assert "org/small" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "hint"),
    [("/v1/chat/completion", "/v1/chat/completions"), ("/readyz", "/ready"), ("/v1/models2", "/v1/models")],
)
async def test_an_unknown_path_is_404_with_the_nearest_route(path: str, hint: str) -> None:
    response = await get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert f"Did you mean {hint}?" in response.json()["error"]["message"]


async def test_a_wrong_method_is_405_and_names_the_right_one() -> None:
    response = await get("/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "Use POST." in response.json()["error"]["message"]


async def post(content: bytes, **options: Any) -> httpx.Response:
    async with client_of(new_app(ScriptedInference(), **options)) as client:
        return await client.post("/v1/chat/completions", content=content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is not JSON: "),
        (b"{", "the body is not JSON: "),
        (b'{"a": "\xff"}', "the body is not JSON: "),
        (b'{"a": 1e999}', "the body is not JSON: "),
        (b"[" * 5000, "the body is nested too deeply"),
        (b"[]", "the body must be a JSON object, not list"),
        (b"{}", "model is missing"),
    ],
)
async def test_a_body_that_is_no_request_is_400(content: bytes, message: str) -> None:
    response = await post(content)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)


async def test_a_body_is_too_large_whether_or_not_its_length_is_announced() -> None:
    assert (await post(b" " * 101, max_body_bytes=100)).status_code == 413

    async def pieces() -> Any:
        for _ in range(11):
            yield b" " * 10

    async with client_of(new_app(ScriptedInference(), max_body_bytes=100)) as client:
        response = await client.post("/v1/chat/completions", content=pieces())
    assert response.status_code == 413
    assert "100 bytes" in response.json()["error"]["message"]


async def test_a_refused_conversation_keeps_its_status_and_names_the_field() -> None:
    refusal = ContextTooLong("9000 tokens do not fit", param="messages", code="context_length_exceeded")
    async with client_of(new_app(ScriptedInference(refusal=refusal))) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=True))
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "message": "9000 tokens do not fit",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    }
