from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from appliance.errors import CancelledByOperator, GenerationFailed, NotReady
from appliance.generation import Delta, Finished, FinishReason
from tests.unit.api.messages_requests import messages_body
from tests.unit.api.responses_requests import body_of
from tests.unit.api.scripted import (
    HELLO,
    STARTED,
    USAGE,
    Connection,
    ScriptedInference,
    Step,
    chat_body,
    client_of,
    new_app,
)


async def test_a_client_that_leaves_a_stream_aborts_the_request() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    connection = Connection(new_app(inference), chat_body(stream=True))
    await connection.until_sent(b"Hel")
    assert inference.num_open == 1
    connection.leave()
    await connection.task
    assert inference.num_open == 0
    assert b"[DONE]" not in connection.body


async def test_a_client_that_leaves_before_a_whole_answer_aborts_the_request() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    connection = Connection(new_app(inference), chat_body())
    await inference.opened.wait()
    connection.leave()
    await connection.task
    assert inference.num_open == 0
    assert connection.sent == []


async def test_a_slot_is_given_back_when_the_client_leaves() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    app = new_app(inference, max_requests=1)
    connection = Connection(app, chat_body(stream=True))
    await connection.until_sent(b"Hel")
    async with client_of(app) as client:
        busy = await client.post("/v1/chat/completions", json=chat_body())
        connection.leave()
        await connection.task
        inference.script = HELLO
        free = await client.post("/v1/chat/completions", json=chat_body())
    assert (busy.status_code, busy.headers["retry-after"], busy.json()["error"]["code"]) == (503, "1", "overloaded")
    assert free.status_code == 200


async def test_a_cancelled_handler_leaves_no_generation_behind() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    connection = Connection(new_app(inference), chat_body(stream=True))
    await connection.until_sent(b"Hel")
    connection.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connection.task
    assert inference.num_open == 0


async def test_a_quiet_stream_is_kept_alive_with_comments() -> None:
    prefill = asyncio.Event()
    inference = ScriptedInference([prefill, *HELLO])
    connection = Connection(new_app(inference, keep_alive_seconds=0.001), chat_body(stream=True))
    await connection.until_sent(b": keep-alive\n\n: keep-alive\n\n")
    prefill.set()
    await asyncio.wait_for(connection.task, 5)
    assert connection.status == 200
    assert connection.body.endswith(b"data: [DONE]\n\n")
    starts = [message for message in connection.sent if message["type"] == "http.response.start"]
    assert len(starts) == 1


async def test_an_error_before_the_first_event_has_its_own_status_even_in_a_stream() -> None:
    app = new_app(ScriptedInference([NotReady("no worker is alive")]))
    async with client_of(app) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=True))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"]["message"] == "no worker is alive"


async def test_an_error_in_a_stream_is_an_event_and_then_the_end(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app(ScriptedInference([STARTED, Delta(0, text="Hel"), GenerationFailed("the engine gave up")]))
    async with client_of(app) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=True))
    assert response.status_code == 200
    *_, last, done, nothing = response.text.split("\n\n")
    assert msgspec.json.decode(last.removeprefix("data: ")) == {
        "error": {"message": "the engine gave up", "type": "server_error", "param": None, "code": None}
    }
    assert (done, nothing) == ("data: [DONE]", "")
    assert [record.levelno for record in caplog.records if "the engine gave up" in record.message] == [logging.WARNING]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unexpected_exception_is_logged_once_and_never_shown(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    script: list[Step] = [STARTED, Delta(0, text="Hel"), ZeroDivisionError("secret")]
    async with client_of(new_app(ScriptedInference(script))) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=stream))
    assert response.status_code == (200 if stream else 500)
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in response.text
    assert sum(record.exc_info is not None for record in caplog.records) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_the_box_broke_off_is_an_error(stream: bool) -> None:
    script: list[Step] = [STARTED, Delta(0, text="Hel", finish=FinishReason.ABORT), Finished(USAGE)]
    async with client_of(new_app(ScriptedInference(script))) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=stream))
    assert response.status_code == 500 or stream
    assert '"code":"aborted"' in response.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script", [[STARTED, Delta(0, text="Hel")], [STARTED, Delta(0, text="Hel"), Finished(USAGE)], []]
)
async def test_an_answer_without_its_end_is_an_error(stream: bool, script: list[Step]) -> None:
    async with client_of(new_app(ScriptedInference(script))) as client:
        response = await client.post("/v1/chat/completions", json=chat_body(stream=stream))
    assert '"code":"unfinished"' in response.text


async def test_an_engine_never_sees_one_id_twice_whatever_the_client_sends() -> None:
    inference = ScriptedInference()
    async with client_of(new_app(inference), headers={"x-request-id": "mine"}) as client:
        answers = [await client.post("/v1/chat/completions", json=chat_body()) for _ in range(2)]
    assert [answer.headers["x-request-id"] for answer in answers] == ["mine", "mine"]
    assert [answer.json()["id"] for answer in answers] == inference.request_ids
    assert len(set(inference.request_ids)) == 2


BODIES = {"chat/completions": chat_body, "messages": messages_body, "responses": body_of}


@pytest.mark.parametrize("path", BODIES)
async def test_a_client_is_told_in_its_own_protocol_that_an_operator_ended_its_request(path: str) -> None:
    app = new_app(ScriptedInference([STARTED, Delta(0, text="Hel"), CancelledByOperator("ann")]))
    async with client_of(app) as client:
        whole = await client.post(f"/v1/{path}", json=BODIES[path]())
        stream = await client.post(f"/v1/{path}", json=BODIES[path](stream=True))
    assert (whole.status_code, stream.status_code) == (499, 200)
    assert whole.json()["error"]["message"] == "ann cancelled this request"
    events = [
        msgspec.json.decode(line.removeprefix("data: ")) for line in stream.text.splitlines() if "ann cancelled" in line
    ]
    match path:
        case "messages":
            assert [(one["type"], one["error"]["type"]) for one in events] == [("error", "invalid_request_error")]
        case "responses":
            assert [one["type"] for one in events] == ["error", "response.failed"]
            assert events[1]["response"]["error"]["code"] == "cancelled_by_operator"
        case _:
            told = {"type": "request_cancelled", "code": "cancelled_by_operator", "param": None}
            assert [one["error"] for one in events] == [told | {"message": "ann cancelled this request"}]
