"""What agents say and hear beside a chat: hints, marks, sessions, comparisons; over HTTP, with the official client."""

from __future__ import annotations

from typing import Any

import openai

from appliance.conversation import CacheMark, Hints, Identity, RetentionDirective, Text, ToolCall
from appliance.generation import Delta, Finished, FinishReason, MarkedPrefix, Started, Timing, ToolCallDelta
from tests.unit.api.scripted import USAGE, ScriptedInference, Step, client_of, new_app

MESSAGES: list[Any] = [{"role": "user", "content": "Hi"}]
PATCH: Any = {"type": "custom", "custom": {"name": "patch"}}
SEARCH: Any = {"type": "web_search"}
TIMED: list[Step] = [
    Started(40, 32, worker=1, marked=(MarkedPrefix(40, 86400.0),)),
    Delta(0, text="Hello", finish=FinishReason.STOP),
    Finished(USAGE, Timing(0.02, 0.5)),
]
CALLS: list[Step] = [
    TIMED[0],
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "patch", '{"input'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='": "a\\'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='nb"}'),), finish=FinishReason.TOOL_CALLS),
    TIMED[-1],
]


def client_for(inference: ScriptedInference, **headers: str) -> openai.AsyncOpenAI:
    http_client: Any = client_of(new_app(inference))  # untyped: the client's annotations name another package
    return openai.AsyncOpenAI(
        api_key="k", base_url="http://box/v1", http_client=http_client, max_retries=0, default_headers=headers
    )


async def ask(client: openai.AsyncOpenAI, **extra: Any) -> Any:
    return await client.chat.completions.create(model="org/small", messages=MESSAGES, extra_body=extra)


async def test_hints_are_understood_and_answered() -> None:
    inference = ScriptedInference(TIMED)
    nvext = {
        "agent_hints": {"priority": 1, "osl": 64, "session_id": "s"},
        "retention": [{"token_start": 0, "token_end": 16, "priority": 90}],
        "extra_fields": ["worker_id", "timing", "cache", "retention", "agent_hints", "ignored"],
    }
    async with client_for(inference, **{"x-dynamo-request-priority": "8"}) as client:
        answer = await ask(client, nvext=nvext, prompt_cache_retention="24h")
    (conversation,) = inference.conversations
    assert conversation.hints == Hints(8, output_tokens=64, retention=(RetentionDirective(0, 16, 90),))
    assert conversation.identity.session_id == "s"
    assert conversation.messages[0].blocks == (Text("Hi", CacheMark(86400.0)),)
    assert answer.model_extra["nvext"] == {
        "worker_id": {"prefill_worker_id": 1, "decode_worker_id": 1},
        "timing": {"ttft_ms": 20.0, "total_ms": 500.0, "kv_hit_rate": 0.8},
        "cache": {"tokens_by_tier": {"gpu": 32, "host": 0, "disk": 0, "remote": 0}, "recomputed_tokens": 8},
        "retention": {
            "marks": [{"tokens": 40, "ttl_seconds": 86400.0}],
            "directives": [{"token_start": 0, "token_end": 16, "priority": 90, "duration_ms": None}],
        },
        "agent_hints": {"priority": 8, "osl": 64, "session_id": "s"},
        "ignored": [],
    }


async def test_a_plain_answer_says_nothing_beside() -> None:
    async with client_for(ScriptedInference(TIMED)) as client:
        answer = await ask(client)
    assert not {"nvext", "prompt_cache_diagnostics"} & set(answer.model_extra)


async def test_what_is_not_acted_upon_is_told_in_a_stream_too() -> None:
    async with client_for(ScriptedInference(TIMED)) as client:
        stream = await client.chat.completions.create(
            model="org/small",
            messages=MESSAGES,
            stream=True,
            tools=[SEARCH],
        )
        chunks = [chunk async for chunk in stream]
    told = {"field": "tools[0]", "reason": "there are no tools of type web_search here"}
    assert (chunks[-1].model_extra or {})["nvext"] == {"ignored": [told]}
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_marks_for_the_whole_request_go_on_its_last_block_and_the_longest_stays() -> None:
    inference = ScriptedInference(TIMED)
    async with client_for(inference) as client:
        await ask(client, cache_control={"type": "ephemeral"})
        await ask(client, cache_control={"type": "ephemeral"}, nvext={"cache_control": {"ttl": "30m"}})
        await ask(client, prompt_cache_options={"ttl": "12h"}, nvext={"cache_control": {"ttl": "30m"}})
    marks = [conversation.messages[0].blocks[0].mark for conversation in inference.conversations]
    assert marks == [CacheMark(300), CacheMark(1800), CacheMark(43200)]


async def test_a_subagent_is_below_its_lead() -> None:
    inference = ScriptedInference(TIMED)
    headers = {"x-claude-code-session-id": "lead", "x-claude-code-agent-id": "a", "user-agent": "agent/1"}
    async with client_for(inference, **headers) as client:
        await ask(client, prompt_cache_key="key", user="ada")
    assert inference.conversations[0].identity == Identity("lead/a", "lead", "agent/1", "ada")


async def test_a_request_is_compared_with_an_earlier_one() -> None:
    async with client_for(ScriptedInference(TIMED)) as client:
        first = await ask(client)
        same = await ask(client, prompt_cache_options={"comparison_response_id": first.id})
        other = await ask(client, tools=[PATCH], prompt_cache_options={"comparison_response_id": first.id})
        unknown = await ask(client, prompt_cache_options={"comparison_response_id": "chatcmpl-0"})
    told = [answer.model_extra["prompt_cache_diagnostics"] for answer in (same, other, unknown)]
    assert told == [
        {"type": "cache_hit"},
        {"type": "cache_miss", "reason": "tools_changed", "cache_missed_tokens": 8, "at": "tools[0] patch"},
        {"type": "comparison_response_not_found"},
    ]


async def test_a_call_of_a_custom_tool_is_text_and_can_be_sent_back() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        answer = await client.chat.completions.create(model="org/small", messages=MESSAGES, tools=[PATCH])
        message = answer.choices[0].message
        assert message.tool_calls is not None
        call = message.tool_calls[0]
        assert call.type == "custom"
        assert (call.custom.name, call.custom.input) == ("patch", "a\nb")
        history = [*MESSAGES, message.model_dump(), {"role": "tool", "tool_call_id": "call_1", "content": "done"}]
        await client.chat.completions.create(model="org/small", messages=history, tools=[PATCH])
    assert inference.conversations[1].messages[1].blocks == (ToolCall("call_1", "patch", '{"input": "a\\nb"}'),)


async def test_a_streamed_call_of_a_custom_tool_is_its_text_piece_by_piece() -> None:
    async with client_for(ScriptedInference(CALLS)) as client:
        stream = await client.chat.completions.create(model="org/small", messages=MESSAGES, tools=[PATCH], stream=True)
        deltas = [chunk.choices[0].delta async for chunk in stream]
    calls: list[Any] = [call for delta in deltas for call in delta.tool_calls or ()]
    assert (calls[0].id, calls[0].type, calls[0].custom["name"]) == ("call_1", "custom", "patch")
    assert [call.custom["input"] for call in calls] == ["", "a", "\nb"]
