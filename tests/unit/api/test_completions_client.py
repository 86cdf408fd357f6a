"""The official client against the completions API."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from appliance.conversation import RawPrompt, Sampling
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Finished, FinishReason, TokenLogprob
from tests.unit.api.scripted import HELLO, STARTED, USAGE, ScriptedInference, Step, client_of, new_app


def client_for(inference: ScriptedInference) -> openai.AsyncOpenAI:
    http_client: Any = client_of(new_app(inference))  # untyped: the client's annotations name another package
    return openai.AsyncOpenAI(api_key="k", base_url="http://box/v1", http_client=http_client, max_retries=0)


async def test_a_whole_answer() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        answer = await client.completions.create(model="org/small", prompt="Say", max_tokens=5, echo=True)
    assert answer.id == "cmpl-t2"
    assert (answer.object, answer.choices[0].text, answer.choices[0].finish_reason) == (
        "text_completion",
        "SayHello",
        "stop",
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 32
    (conversation,) = inference.conversations
    assert (conversation.raw, conversation.sampling) == (RawPrompt("Say"), Sampling(max_tokens=5))


async def test_a_stream() -> None:
    async with client_for(ScriptedInference()) as client:
        stream = await client.completions.create(
            model="org/small", prompt=[1, 2], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].text for chunk in chunks[:2]] == ["Hel", "lo"]
    assert chunks[1].choices[0].finish_reason == "stop"
    assert (chunks[2].choices, chunks[2].usage and chunks[2].usage.total_tokens) == ([], 47)


async def test_several_prompts_and_logprobs() -> None:
    entry = TokenLogprob("x", -0.5, b"x", (TokenLogprob("y", -1.0, b"y"),))
    script: list[Step] = [
        STARTED,
        Delta(1, "b", logprobs=(entry,), finish=FinishReason.LENGTH),
        Delta(0, "a", logprobs=(entry,), finish=FinishReason.STOP),
        Finished(USAGE),
    ]
    inference = ScriptedInference(script)
    async with client_for(inference) as client:
        answer = await client.completions.create(model="org/small", prompt=["A", "B"], n=2, logprobs=1)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 80
    logprobs = answer.choices[3].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.top_logprobs) == (["x"], [{"x": -0.5, "y": -1.0}])
    assert [conversation.raw for conversation in inference.conversations] == [RawPrompt("A"), RawPrompt("B")]
    assert inference.request_ids == ["cmpl-t2-0", "cmpl-t2-1"]


async def test_an_extension_is_answered() -> None:
    inference = ScriptedInference()
    asked = {"nvext": {"extra_fields": ["hit_rate", "worker_id"], "agent_hints": {"priority": 3}, "typo": 1}}
    async with client_for(inference) as client:
        answer = await client.completions.create(model="org/small", prompt="x", extra_body=asked)
    assert (answer.model_extra or {})["nvext"] == {
        "worker_id": {"prefill_worker_id": 0, "decode_worker_id": 0},
        "hit_rate": 0.8,
        "ignored": [{"field": "nvext.typo", "reason": "nothing here acts upon it"}],
    }
    assert inference.conversations[0].hints.priority == 3


async def test_errors_become_the_clients_own() -> None:
    async with client_for(ScriptedInference()) as client:
        with pytest.raises(openai.BadRequestError, match="fills in the middle"):
            await client.completions.create(model="org/small", prompt="x", suffix="y")
    async with client_for(ScriptedInference([*HELLO[:2], GenerationFailed("the engine gave up")])) as client:
        stream = await client.completions.create(model="org/small", prompt="x", stream=True)
        with pytest.raises(openai.APIError, match="the engine gave up"):
            [chunk async for chunk in stream]
