"""Whatever a client sends or fails to take, over a real connection: the right answer, bounded memory, a free engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import product
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest

from appliance.api.json_body import MAX_NESTING
from appliance.conversation import Conversation
from appliance.generation import Delta, Event
from tests.unit.api.scripted import STARTED, ScriptedInference, ScriptedRequest, chat_body, client_of, new_app
from tests.unit.api.serving import SlowClient, client_on, request_bytes, serving

MEGABYTE = 2**20
MAX_BODY = MEGABYTE
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
PATHS = (CHAT, "/v1/completions", MESSAGES, "/v1/messages/count_tokens", RESPONSES, "/v1/conversations")
USER = {"role": "user", "content": "Hi"}
SELF = {"$ref": "#"}
CYCLE = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}


def error_of(path: str, answer: Any) -> dict[str, Any]:
    """The error in the envelope of the path's protocol."""
    body: dict[str, Any] = answer.json()
    assert (body.get("type") == "error") is path.startswith(MESSAGES)
    error: dict[str, Any] = body["error"]
    assert error["type"] in ("invalid_request_error", "request_too_large")
    return error


# Bodies that are too large


async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent() -> None:
    async with serving(new_app(ScriptedInference(), max_body_bytes=MAX_BODY)) as port:
        for path in PATHS:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_bytes(path, b"", length=100 * MEGABYTE))
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
            writer.close()
            assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_unknown_length_is_refused_as_soon_as_it_is_too_large() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * MEGABYTE

    async with serving(new_app(ScriptedInference(), max_body_bytes=MAX_BODY)) as port, client_on(port) as client:
        for path in PATHS:
            answer = await client.post(path, content=pieces())
            assert answer.status_code == 413
            error_of(path, answer)


async def test_the_official_clients_see_the_refusal_and_no_broken_connection() -> None:
    text = "x" * (8 * MEGABYTE)
    async with serving(new_app(ScriptedInference(), max_body_bytes=MAX_BODY)) as port:
        url = f"http://127.0.0.1:{port}"
        ours: Any = httpx2.AsyncClient()
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, http_client=ours) as other:
            with pytest.raises(anthropic.APIStatusError) as told:
                await other.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": text}])
    assert (refused.value.status_code, told.value.status_code) == (413, 413)
    assert told.value.body == {"type": "error", "error": told.value.body["error"], "request_id": told.value.request_id}  # type: ignore[index]  # it is a mapping, which the client does not say


async def test_a_body_that_breaks_off_holds_nothing() -> None:
    inference = ScriptedInference()
    app = new_app(inference, max_requests=1)
    async with serving(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes(CHAT, b'{"model"', length=1000))
        await writer.drain()
        writer.close()
        async with client_on(port) as client:
            assert (await client.post(CHAT, json=chat_body())).status_code == 200
    assert len(inference.conversations) == 1


# Bodies of which a model could never read what they hold


@pytest.mark.parametrize(
    ("field", "status", "message"),
    [
        ([{}] * 100_000, 413, "arrays and objects; this box takes at most 16384"),
        ([0] * 300_000, 413, "values; this box takes at most 262144"),
        ("some words " * 400_000, 400, "bytes of text; this model's context has no room for more than 4194304."),
    ],
)
async def test_more_than_a_model_can_read_is_refused_before_it_is_decoded(
    field: Any, status: int, message: str
) -> None:
    inference = ScriptedInference()
    async with client_of(new_app(inference, max_body_bytes=64 * MEGABYTE)) as client:
        for path in PATHS:
            answer = await client.post(path, json={"model": "org/small", "field": field})
            assert answer.status_code == status
            assert message in error_of(path, answer)["message"]
    assert not inference.conversations


# Text that is no text


NO_TEXTS = {
    b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}': "messages[0].content",
    b'{"model": "m", "input": [{"role": "user", "content": "a\\udc00b"}]}': "input[0].content",
    b'{"model": "\xed\xa0\x80"}': "model",
    b'{"tools": [{"\\udfff": 1}]}': "tools[0]",
    b'{"model": "\xff"}': None,
    b'{"model": "\xc3': None,
    b"\xef\xbb\xbf{}": None,
    b"\x00": None,
}


async def test_what_no_tokenizer_can_read_is_refused_by_name() -> None:
    async with serving(new_app(ScriptedInference())) as port, client_on(port) as client:
        for path, (text, param) in product(PATHS, NO_TEXTS.items()):
            answer = await client.post(path, content=text)
            assert answer.status_code == 400
            message = error_of(path, answer)["message"]
            assert message.startswith("the body is not JSON")
            if param is not None:
                assert f"{param} holds half of a surrogate pair" in message


async def test_a_whole_pair_of_surrogates_is_one_character() -> None:
    inference = ScriptedInference()
    async with client_of(new_app(inference)) as client:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d\\ude00"}]}'
        assert (await client.post(CHAT, content=body)).status_code == 200
    assert inference.conversations[0].messages[0].blocks[0].text == "\N{GRINNING FACE}"  # type: ignore[union-attr]  # a text


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("/v1/responses/\xff", 400),
        ("/v1/responses/\x00", 400),
        ("/v1/responses/%ff%ed%a0%80", 404),
        ("/v1/models/%ff", 404),
        ("/v1/models?after_id=%ff", 400),
        ("/v1/models?unknown=%ff", 200),
    ],
)
async def test_what_is_no_text_outside_of_a_body_is_refused(place: str, status: int) -> None:
    async with serving(new_app(ScriptedInference())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET {place} HTTP/1.1\r\nhost: box\r\nanthropic-version: 1\r\nconnection: close\r\n\r\n"
        writer.write(head.encode("latin-1"))
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert int(answer.split(b" ", 2)[1]) == status


@pytest.mark.parametrize("name", ["x-session-id", "user-agent", "x-request-id", "x-dynamo-session-id"])
async def test_a_header_of_any_bytes_is_read_or_refused(name: str) -> None:
    async with serving(new_app(ScriptedInference())) as port:
        for value in (b"\xff\xfe", b"\xed\xa0\x80", b"x" * 30_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = msgspec.json.encode(chat_body())
            head = f"POST {CHAT} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-length: {len(body)}\r\n{name}: "
            writer.write(head.encode() + value + b"\r\n\r\n" + body)
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), answer[:200]


# Values that are too deep or go round in circles


def nested(depth: int) -> msgspec.Raw:
    return msgspec.Raw(b'{"a":' * depth + b"1" + b"}" * depth)


def with_schema(path: str, schema: Any) -> list[dict[str, Any]]:
    """Requests that carry a schema as a tool's and as the answer's."""
    if path == CHAT:
        tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        return [chat_body(tools=[tool], tool_choice="required"), chat_body(response_format=form)]
    if path == MESSAGES:
        body = {"model": "m", "max_tokens": 5, "messages": [USER]}
        config = {"format": {"type": "json_schema", "schema": schema}}
        return [body | {"tools": [{"name": "f", "input_schema": schema}]}, body | {"output_config": config}]
    body = {"model": "m", "input": "Hi"}
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    return [body | {"tools": [{"type": "function", "name": "f", "parameters": schema}]}, body | {"text": text}]


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize(
    ("depth", "status"), [(MAX_NESTING - 10, 200), (MAX_NESTING, 400), (900, 400), (3000, 400), (100_000, 400)]
)
async def test_nesting_is_bounded(path: str, depth: int, status: int) -> None:
    app = new_app(ScriptedInference(), max_body_bytes=MEGABYTE)
    async with client_of(app) as client:
        for body in with_schema(path, nested(depth)):
            answer = await client.post(path, content=msgspec.json.encode(body))
            assert answer.status_code == status
            if status == 400:
                assert (
                    error_of(path, answer)["message"]
                    == f"the body is nested too deeply: more than {MAX_NESTING} levels"
                )


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("schema", [SELF, CYCLE, TREE])
async def test_a_schema_that_refers_to_itself_goes_through_as_it_is(path: str, schema: Any) -> None:
    inference = ScriptedInference()
    async with client_of(new_app(inference)) as client:
        for body in with_schema(path, schema):
            assert (await client.post(path, json=body)).status_code == 200
    first, second = inference.conversations
    assert (first.tools[0].parameters, second.output_format.schema) == (schema, schema)


# Results without calls

UNCALLED = {"type": "function_call_output", "call_id": "c", "output": "x"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "x"}]}, "messages[1].tool_call_id"),
        (
            MESSAGES,
            {
                "max_tokens": 5,
                "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}],
            },
            "messages[0].content[0]",
        ),
        (RESPONSES, {"input": [UNCALLED]}, "call_id c"),
        ("/v1/responses/input_tokens", {"input": [UNCALLED]}, "call_id c"),
        ("/v1/responses/compact", {"input": [UNCALLED]}, "call_id c"),
        ("/v1/conversations", {"items": [UNCALLED]}, "call_id c"),
    ],
)
async def test_a_result_without_its_call_is_refused(path: str, body: dict[str, Any], field: str) -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        answer = await client.post(path, json={"model": "m", **body})
    assert answer.status_code == 400
    assert field in error_of(path, answer)["message"]


# Clients that do not read


class Fountain(ScriptedInference):
    """Its answers never end. `num_made` counts their deltas."""

    def __init__(self) -> None:
        super().__init__()
        self.num_made = 0
        self.freed = asyncio.Event()

    async def prepare(self, conversation: Conversation, request_id: str) -> ScriptedRequest:
        return Spout(self)


class Spout(ScriptedRequest):
    def __init__(self, fountain: Fountain) -> None:
        super().__init__(fountain)
        self._fountain = fountain

    async def events(self) -> AsyncGenerator[Event]:
        self._fountain.opened.set()
        try:
            yield STARTED
            while True:
                await asyncio.sleep(0)
                self._fountain.num_made += 1
                yield Delta(0, text="x" * 1000)
        finally:
            self._fountain.freed.set()


STREAMS = {
    CHAT: chat_body(stream=True),
    "/v1/completions": {"model": "m", "prompt": "Hi", "stream": True},
    MESSAGES: {"model": "m", "max_tokens": 5, "messages": [USER], "stream": True},
    RESPONSES: {"model": "m", "input": "Hi", "stream": True},
}
BUFFERED = 8_000
"""Deltas of 1 KB that the server and the kernel may hold for one connection."""


async def until_stuck(fountain: Fountain) -> int:
    """How many deltas were made by the time that no more are: others get a thousand turns of the loop in between."""
    seen = -1
    while seen != fountain.num_made:
        seen = fountain.num_made
        for _ in range(1000):
            await asyncio.sleep(0)
    return seen


@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_waits_for_a_client_that_reads_byte_by_byte(path: str) -> None:
    fountain = Fountain()
    async with serving(new_app(fountain)) as port:
        with SlowClient(port) as client:
            await client.send(request_bytes(path, msgspec.json.encode(STREAMS[path])))
            assert await client.read(1) == b"H"
            first = await until_stuck(fountain)
            assert 0 < first < BUFFERED
            for _ in range(100):
                await client.read(1)
            assert await until_stuck(fountain) - first < 100
            assert not fountain.freed.is_set()
        await asyncio.wait_for(fountain.freed.wait(), 10)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_client_that_takes_nothing_at_all_is_given_up(path: str) -> None:
    fountain = Fountain()
    app = new_app(fountain, stall_seconds=0.1, keep_alive_seconds=0.05, max_requests=1)
    async with serving(app) as port:
        with SlowClient(port) as client:
            await client.send(request_bytes(path, msgspec.json.encode(STREAMS[path])))
            await asyncio.wait_for(fountain.freed.wait(), 10)
            async with client_on(port) as other:
                assert (await other.get("/health")).status_code == 200


@pytest.mark.parametrize("path", STREAMS)
async def test_a_client_that_leaves_frees_its_engine(path: str) -> None:
    fountain = Fountain()
    async with serving(new_app(fountain)) as port:
        async with client_on(port) as client, client.stream("POST", path, json=STREAMS[path]) as answer:
            assert answer.status_code == 200
            async for _ in answer.aiter_bytes():
                break
        await asyncio.wait_for(fountain.freed.wait(), 10)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_client_that_leaves_before_a_whole_answer_frees_its_engine(path: str) -> None:
    fountain = Fountain()
    async with serving(new_app(fountain)) as port:
        with SlowClient(port) as client:
            await client.send(request_bytes(path, msgspec.json.encode(STREAMS[path] | {"stream": False})))
            await asyncio.wait_for(fountain.opened.wait(), 10)
        await asyncio.wait_for(fountain.freed.wait(), 10)
