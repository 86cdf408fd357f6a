"""The official client against the API: what it sends is understood, what it gets back it understands."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from appliance.conversation import Text, ToolCall, ToolChoice, ToolChoiceMode, ToolResult
from appliance.errors import GenerationFailed, NotReady
from appliance.generation import Delta, Finished, FinishReason, TokenLogprob, ToolCallDelta, Usage
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

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALLS = (
    STARTED,
    Delta(0, thinking="The user "),
    Delta(0, thinking="asks."),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "weather"),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='{"city":'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments=' "Bern"}'), ToolCallDelta(1, "call_2", "weather", "{}"))),
    Delta(0, finish=FinishReason.TOOL_CALLS),
    Finished(USAGE),
)


def client_for(inference: ScriptedInference, **options: Any) -> openai.AsyncOpenAI:
    return official_client(client_of(new_app(inference, **options)))


def official_client(http_client: Any) -> openai.AsyncOpenAI:
    """`http_client` is untyped: the client takes httpx, its annotations name another package from version 3 on."""
    return openai.AsyncOpenAI(api_key="k", base_url="http://box/v1", http_client=http_client, max_retries=0)


async def test_a_whole_answer() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        answer = await client.chat.completions.create(model="org/small", messages=[{"role": "user", "content": "Hi"}])
    assert answer.id == "chatcmpl-t2"
    assert answer.created == 1_700_000_000
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].message.refusal is None
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.service_tier == "default"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 47
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 32
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3


async def test_cached_tokens_are_present_even_when_there_were_none() -> None:
    script: list[Step] = [STARTED, Delta(0, text="x", finish=FinishReason.STOP), Finished(Usage(5, 0, 1))]
    async with client_of(new_app(ScriptedInference(script))) as client:
        body = {"model": "org/small", "messages": [{"role": "user", "content": "Hi"}]}
        answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_a_stream() -> None:
    async with client_for(ScriptedInference()) as client:
        stream = await client.chat.completions.create(
            model="org/small",
            messages=[{"role": "user", "content": "Hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:3]] == ["Hel", "lo"]
    assert chunks[3].choices[0].finish_reason == "stop"
    assert chunks[4].choices == []
    assert chunks[4].usage is not None
    assert chunks[4].usage.prompt_tokens == 40
    assert [chunk.usage for chunk in chunks[:4]] == [None] * 4
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_that_counts_along() -> None:
    script: list[Step] = [
        STARTED,
        Delta(0, "Hel", tokens=2),
        Delta(0, "lo", finish=FinishReason.STOP, tokens=3),
        Finished(USAGE),
    ]
    wanted: Any = {"include_usage": True, "continuous_usage_stats": True}
    async with client_for(ScriptedInference(script)) as client:
        chat = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True, stream_options=wanted
        )
        counts = [chunk.usage and chunk.usage.completion_tokens async for chunk in chat]
        plain = await client.completions.create(model="m", prompt="Hi", stream=True, stream_options=wanted)
        counts_of_plain = [chunk.usage and chunk.usage.completion_tokens async for chunk in plain]
    assert (counts, counts_of_plain) == ([0, 2, 5, 5, 7], [2, 5, 7])


async def test_the_stream_helper_puts_tool_calls_together() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        async with client.chat.completions.stream(
            model="org/small", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER]
        ) as stream:
            streamed = (await stream.get_final_completion()).choices[0]
        whole = (
            await client.chat.completions.create(
                model="org/small", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER]
            )
        ).choices[0]
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"
    assert streamed.message.content is whole.message.content is None
    assert streamed.message.tool_calls is not None
    assert whole.message.tool_calls is not None
    for choice in (streamed, whole):
        calls = [
            (call.id, call.function.name, call.function.arguments)
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ]
        assert calls == [("call_1", "weather", '{"city": "Bern"}'), ("call_2", "weather", "{}")]
        extra = choice.message.model_extra or {}
        assert extra["reasoning_content"] == extra["reasoning"] == "The user asks."


async def test_an_answer_can_be_sent_back_as_it_came() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await client.chat.completions.create(
            model="org/small", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER]
        )
        history: list[Any] = [
            {"role": "user", "content": "Weather?"},
            first.choices[0].message.model_dump(),
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
        ]
        named: Any = {"type": "function", "function": {"name": "weather"}}
        await client.chat.completions.create(
            model="org/small", messages=history, tools=[WEATHER], tool_choice=named, parallel_tool_calls=False
        )
    conversation = inference.conversations[1]
    assert conversation.messages[1].blocks[1:] == (
        ToolCall("call_1", "weather", '{"city": "Bern"}'),
        ToolCall("call_2", "weather", "{}"),
    )
    assert conversation.messages[2].blocks == (ToolResult("call_1", (Text("Sunny"),)),)
    assert conversation.tool_choice == ToolChoice(ToolChoiceMode.NAMED, "weather")
    assert not conversation.parallel_tool_calls


async def test_logprobs_and_several_choices() -> None:
    entry = TokenLogprob("é", -0.5, "é".encode(), (TokenLogprob("e", float("-inf"), b"e"),))
    script: list[Step] = [
        STARTED,
        Delta(1, text="b", logprobs=(entry,), finish=FinishReason.LENGTH),
        Delta(0, text="a", logprobs=(entry,), finish=FinishReason.STOP, matched_stop="END"),
        Finished(USAGE),
    ]
    inference = ScriptedInference(script)
    async with client_for(inference) as client:
        answer = await client.chat.completions.create(
            model="org/small", messages=[{"role": "user", "content": "Hi"}], n=2, logprobs=True, top_logprobs=1
        )
    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
    assert (answer.choices[0].model_extra or {})["stop_reason"] == "END"
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert (logprobs.content[0].token, logprobs.content[0].bytes) == ("é", [0xC3, 0xA9])
    assert logprobs.content[0].top_logprobs[0].logprob == -9999.0
    assert inference.conversations[0].sampling.logprobs == 1


async def test_errors_become_the_clients_own() -> None:
    async with client_for(ScriptedInference()) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(
                model="org/small", messages=[{"role": "user", "content": "Hi"}], temperature=3
            )
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nothing")
        assert [model.id async for model in client.models.list()] == ["org/small"]
    assert bad.value.param == "temperature"
    assert bad.value.request_id == "req_t1"
    async with client_for(ScriptedInference(), api_keys=frozenset({"other"})) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    async with client_for(ScriptedInference(refusal=NotReady("draining"))) as client:
        with pytest.raises(openai.InternalServerError, match="draining"):
            await client.chat.completions.create(model="org/small", messages=[{"role": "user", "content": "Hi"}])


async def test_an_error_in_a_stream_reaches_the_client_as_an_error() -> None:
    script: list[Step] = [STARTED, Delta(0, text="Hel"), GenerationFailed("the engine gave up")]
    async with client_for(ScriptedInference(script)) as client:
        stream = await client.chat.completions.create(
            model="org/small", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="the engine gave up"):
            [chunk async for chunk in stream]


async def test_keep_alive_comments_are_not_seen() -> None:
    prefill = asyncio.Event()
    inference = ScriptedInference([prefill, *HELLO])
    connection = Connection(new_app(inference, keep_alive_seconds=0.001), chat_body(stream=True))
    await connection.until_sent(b": keep-alive")
    prefill.set()
    await connection.task

    async def replay(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=connection.body)

    recorded = httpx.AsyncClient(transport=httpx.MockTransport(replay))
    async with official_client(recorded) as client:
        stream = await client.chat.completions.create(
            model="org/small", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "Hello"
