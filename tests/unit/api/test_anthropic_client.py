"""The official client against the API: what it sends is understood, what it gets back it understands."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam, ToolParam
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api.problems import Overloaded
from appliance.conversation import Conversation, Document, Role, Text, Thinking, ToolCall, ToolResult
from appliance.errors import ContextTooLong, GenerationFailed, TooManyRequests, UnknownModel
from appliance.generation import Delta, Event, Finished, FinishReason, Started, ToolCallDelta, Usage
from tests.examples import examples
from tests.unit.api.messages_requests import SEAL, messages_body, official_client
from tests.unit.api.scripted import HELLO, STARTED, USAGE, ScriptedInference, Step, client_of, new_app

WEATHER: ToolParam = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
QUESTION: MessageParam = {"role": "user", "content": "Weather?"}
CALLS = (
    STARTED,
    Delta(0, thinking="The user "),
    Delta(0, thinking="asks."),
    Delta(0, tool_calls=(ToolCallDelta(0, "chatcmpl-tool-1a", "weather"),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='{"city":'),)),
    Delta(
        0, tool_calls=(ToolCallDelta(0, arguments=' "Bern"}'), ToolCallDelta(1, "chatcmpl-tool-2b", "weather", "{}"))
    ),
    Delta(0, finish=FinishReason.TOOL_CALLS),
    Finished(USAGE),
)
USER: list[MessageParam] = [{"role": "user", "content": "Hi"}]


def client_for(inference: ScriptedInference, **options: Any) -> anthropic.AsyncAnthropic:
    return official_client(new_app(inference, seal=SEAL, **options))


async def post(inference: ScriptedInference, path: str = "/v1/messages", **fields: Any) -> httpx.Response:
    async with client_of(new_app(inference, seal=SEAL)) as client:
        return await client.post(path, json=messages_body(**fields))


async def test_a_whole_answer() -> None:
    async with client_for(ScriptedInference()) as client:
        message = await client.messages.create(model="org/small", max_tokens=64, messages=USER)
    assert message.id == "msg_t2"
    assert message._request_id == "req_t1"
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello"}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens == 8
    assert message.usage.cache_read_input_tokens == 32
    assert message.usage.cache_creation_input_tokens == 0
    assert message.usage.output_tokens == 7
    assert message.usage.service_tier == "standard"


async def test_a_stream_of_events() -> None:
    async with client_for(ScriptedInference()) as client:
        stream = await client.messages.create(model="org/small", max_tokens=64, messages=USER, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_text_of_a_stream() -> None:
    async with (
        client_for(ScriptedInference()) as client,
        client.messages.stream(model="org/small", max_tokens=64, messages=USER) as stream,
    ):
        assert [text async for text in stream.text_stream] == ["Hel", "lo"]


async def test_a_whole_loop_with_tools() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await client.messages.create(
            model="org/small", max_tokens=64, messages=[QUESTION], tools=[WEATHER], thinking={"type": "adaptive"}
        )
        assert first.stop_reason == "tool_use"
        calls = [block for block in first.content if block.type == "tool_use"]
        assert [(call.id, call.input) for call in calls] == [("toolu_1a", {"city": "Bern"}), ("toolu_2b", {})]
        inference.script = HELLO
        results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"} for call in calls]
        second = await client.messages.create(
            model="org/small",
            max_tokens=64,
            messages=[QUESTION, first.to_param(), {"role": "user", "content": results}],
            tools=[WEATHER],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        )
    assert second.stop_reason == "end_turn"
    conversation = inference.conversations[1]
    assert conversation.messages[1].blocks == (
        Thinking("The user asks.", signature=SEAL.sign("The user asks.")),
        ToolCall("toolu_1a", "weather", '{"city": "Bern"}'),
        ToolCall("toolu_2b", "weather", "{}"),
    )
    assert conversation.messages[2].blocks == (
        ToolResult("toolu_1a", (Text("Sunny"),)),
        ToolResult("toolu_2b", (Text("Sunny"),)),
    )
    assert not conversation.parallel_tool_calls
    assert conversation.reporting.ignored == ()


async def test_thoughts_are_signed_and_known_again() -> None:
    inference = ScriptedInference([STARTED, Delta(0, thinking="Hm."), Delta(0, text="4"), *HELLO[-2:]])
    async with client_for(inference) as client:
        for display in ("summarized", "omitted"):
            thinking: Any = {"type": "enabled", "budget_tokens": 1024, "display": display}
            async with client.messages.stream(
                model="org/small", max_tokens=2048, messages=USER, thinking=thinking
            ) as stream:
                answer = await stream.get_final_message()
            block = answer.content[0]
            assert block.type == "thinking"
            assert block.thinking == ("Hm." if display == "summarized" else "")
            await client.messages.create(
                model="org/small",
                max_tokens=64,
                messages=[*USER, answer.to_param(), {"role": "user", "content": "More"}],
            )
            (thought, *_) = inference.conversations[-1].messages[1].blocks
            assert isinstance(thought, Thinking)
            assert thought.text == "Hm."
            assert inference.conversations[-1].reporting.ignored == ()
    assert inference.conversations[0].reasoning.budget_tokens == 1024


class CountingInference(ScriptedInference):
    """Every word is a token."""

    async def count_tokens(self, conversation: Conversation) -> int:
        parts = [block for message in conversation.messages for block in message.blocks]
        parts += [inner for block in parts if isinstance(block, ToolResult) for inner in block.content]
        return sum(len(part.text.split()) for part in parts if isinstance(part, Text | Thinking | Document))


async def test_tokens_are_counted_by_the_engine() -> None:
    async with client_for(CountingInference()) as client:
        count = await client.messages.count_tokens(
            model="org/small",
            system="Be brief",
            messages=[{"role": "user", "content": "one two three"}],
            tools=[WEATHER],
        )
        assert count.input_tokens == 5
        with pytest.raises(anthropic.BadRequestError, match="messages"):
            await client.messages.count_tokens(model="org/small", messages=[])


LONG_LOOP: Any = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "word " * 50}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "b", "name": "weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "fresh"}]},
]
EDITS: Any = {
    "edits": [
        {
            "type": "clear_tool_uses_20250919",
            "trigger": {"type": "input_tokens", "value": 20},
            "keep": {"type": "tool_uses", "value": 1},
        }
    ]
}


async def test_a_long_history_is_cleared_as_the_client_asks() -> None:
    inference = CountingInference()
    async with client_for(inference) as client:
        message = await client.beta.messages.create(
            model="org/small",
            max_tokens=64,
            messages=LONG_LOOP,
            context_management=EDITS,
            betas=["context-management-2025-06-27"],
        )
        async with client.beta.messages.stream(
            model="org/small", max_tokens=64, messages=LONG_LOOP, context_management=EDITS
        ) as stream:
            streamed = await stream.get_final_message()
        counted = await client.beta.messages.count_tokens(
            model="org/small", messages=LONG_LOOP, context_management=EDITS
        )
    assert message.context_management is not None
    (edit,) = message.context_management.applied_edits
    assert edit.type == "clear_tool_uses_20250919"
    assert (edit.cleared_tool_uses, edit.cleared_input_tokens) == (1, 42)
    assert streamed.context_management == message.context_management
    assert counted.input_tokens == 10
    assert counted.context_management is not None
    assert counted.context_management.original_input_tokens == 52
    result = inference.conversations[0].messages[2].blocks[0]
    assert isinstance(result, ToolResult)
    assert result.content == (Text("[This tool result was cleared to save context.]"),)


async def test_why_the_cache_was_missed_is_told_from_turn_to_turn() -> None:
    async with client_for(ScriptedInference()) as official:
        client: Any = official
        ask: Any = {"model": "org/small", "max_tokens": 64}
        first = await client.beta.messages.create(**ask, messages=USER, diagnostics={"previous_message_id": None})
        grown: Any = [*USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "More"}]
        second = await client.beta.messages.create(**ask, messages=grown, diagnostics={"previous_message_id": first.id})
        third = await client.beta.messages.create(
            **ask, system="New", messages=grown, diagnostics={"previous_message_id": second.id}
        )
    assert first.diagnostics is None
    assert second.diagnostics is None
    assert third.diagnostics is not None
    assert third.diagnostics.cache_miss_reason is not None
    assert third.diagnostics.cache_miss_reason.type == "system_changed"
    assert third.diagnostics.cache_miss_reason.cache_missed_input_tokens == 8


async def test_models_are_listed_in_the_shape_of_the_protocol() -> None:
    async with client_for(ScriptedInference()) as client:
        (model,) = [model async for model in client.models.list(limit=1)]
        assert (model.id, model.type, model.display_name) == ("org/small", "model", "org/small")
        assert model.created_at.isoformat() == "2023-11-14T22:13:20+00:00"
        assert await client.models.retrieve("org/small") == model
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("other")


@pytest.mark.parametrize(
    ("refusal", "error", "kind", "status"),
    [
        (UnknownModel("no such model"), anthropic.NotFoundError, "not_found_error", 404),
        (ContextTooLong("too long"), anthropic.BadRequestError, "invalid_request_error", 400),
        (TooManyRequests("busy", retry_after_seconds=7), anthropic.RateLimitError, "rate_limit_error", 429),
        (Overloaded("busy"), anthropic.APIStatusError, "overloaded_error", 529),
        (GenerationFailed("gave up"), anthropic.InternalServerError, "api_error", 500),
        (RuntimeError("bug"), anthropic.InternalServerError, "api_error", 500),
    ],
)
async def test_errors_become_the_clients_own(
    refusal: Exception, error: type[anthropic.APIStatusError], kind: str, status: int
) -> None:
    async with client_for(ScriptedInference(refusal=refusal)) as client:
        with pytest.raises(error) as caught:
            await client.messages.create(model="org/small", max_tokens=64, messages=USER)
    assert caught.value.status_code == status
    body: Any = caught.value.body
    assert body["error"]["type"] == kind
    assert body["request_id"] == caught.value.request_id == "req_t1"


async def test_wrong_requests_and_wrong_keys_are_told_in_the_envelope() -> None:
    async with client_for(ScriptedInference()) as client:
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            await client.messages.create(model="org/small", max_tokens=64, messages=USER, extra_body={"temperature": 3})
    async with client_for(ScriptedInference(), max_body_bytes=50) as client:
        with pytest.raises(anthropic.RequestTooLargeError):
            await client.messages.create(model="org/small", max_tokens=64, messages=USER)
    async with client_for(ScriptedInference(), api_keys=frozenset({"other"})) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="org/small", max_tokens=64, messages=USER)
    async with client_for(ScriptedInference(), api_keys=frozenset({"k"})) as client:
        assert (await client.messages.create(model="org/small", max_tokens=64, messages=USER)).id


async def test_an_error_in_a_stream_is_an_event() -> None:
    script: list[Step] = [STARTED, Delta(0, text="Hel"), GenerationFailed("the engine gave up")]
    async with client_for(ScriptedInference(script)) as client:
        with pytest.raises(anthropic.APIError, match="the engine gave up"):
            async with client.messages.stream(model="org/small", max_tokens=64, messages=USER) as stream:
                await stream.get_final_message()
    frames = (await post(ScriptedInference(script), stream=True)).text.split("\n\n")
    name, data = frames[-2].split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "the engine gave up"},
        "request_id": "req_t1",
    }


async def test_any_beta_is_accepted() -> None:
    async with client_of(new_app(ScriptedInference())) as client:
        headers = {"anthropic-beta": "invented-2099-01-01,other", "anthropic-version": "2023-06-01"}
        response = await client.post("/v1/messages?beta=true", json=messages_body(), headers=headers)
    assert response.status_code == 200
    assert response.headers["request-id"] == response.headers["x-request-id"]


async def test_what_claude_code_sends_is_taken_as_it_comes() -> None:
    """Three marks, a system message among the turns, adaptive thinking, edits, effort, and its session in JSON."""
    marked = {"cache_control": {"type": "ephemeral"}}
    inference = ScriptedInference()
    response = await post(
        inference,
        "/v1/messages?beta=true",
        max_tokens=32000,
        stream=True,
        system=[{"type": "text", "text": "You are", **marked}, {"type": "text", "text": "Rules", **marked}],
        messages=[
            {
                "role": "user",
                "content": [{"type": "text", "text": "<system-reminder>"}, {"type": "text", "text": "Hi"}],
            },
            {"role": "system", "content": "Tools were added"},
            {"role": "user", "content": [{"type": "text", "text": "Go", **marked}]},
        ],
        tools=[
            {"name": "Bash", "description": "Run", "input_schema": {"type": "object"}, "eager_input_streaming": True}
        ],
        thinking={"type": "adaptive"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        output_config={"effort": "high"},
        metadata={"user_id": json.dumps({"device_id": "d", "account_uuid": "", "session_id": "s-1"})},
    )
    assert response.status_code == 200
    (conversation,) = inference.conversations
    assert [message.role for message in conversation.messages] == [Role.SYSTEM, Role.USER, Role.SYSTEM, Role.USER]
    assert sum(block.mark is not None for message in conversation.messages for block in message.blocks) == 3
    assert (conversation.identity.session_id, conversation.identity.user) == ("s-1", "d")
    assert (conversation.reasoning.enabled, conversation.reasoning.effort) == (True, "high")
    assert conversation.reporting.ignored == ()
    assert '"context_management":{"applied_edits":[]}' in response.text


pieces = st.text("ab \n", max_size=3)
objects = st.dictionaries(
    st.sampled_from("ab"), st.one_of(st.integers(0, 99), st.text('x"\\{é', max_size=4)), max_size=2
)


@st.composite
def deltas(draw: st.DrawFn) -> list[Delta]:
    """An answer in pieces: thinking, text and calls in any order, each call in pieces of its own."""
    found: list[Delta] = []
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["spoken", "call"]))
        if kind == "spoken":
            found += [Delta(0, thinking=draw(pieces), text=draw(pieces)) for _ in range(draw(st.integers(1, 3)))]
            continue
        text = json.dumps(draw(objects), ensure_ascii=False)
        cut = draw(st.integers(0, len(text)))
        first = ToolCallDelta(index, f"call_{index}", f"tool{index}", text[:cut])
        found += [
            Delta(0, text=draw(pieces), tool_calls=(first,)),
            Delta(0, tool_calls=(ToolCallDelta(index, arguments=text[cut:]),)),
        ]
    if draw(st.booleans()):
        text = json.dumps({"a": [1, {"b": "cut off"}]})[: draw(st.integers(0, 20))]
        return [
            *found,
            Delta(0, tool_calls=(ToolCallDelta(9, "call_9", "cut", text),)),
            Delta(0, finish=FinishReason.LENGTH),
        ]
    return [*found, Delta(0, finish=draw(st.sampled_from([FinishReason.STOP, FinishReason.LENGTH])))]


@settings(max_examples=examples(60))
@given(deltas(), st.booleans())
async def test_a_stream_put_together_by_the_client_is_the_whole_answer(answer: list[Delta], hidden: bool) -> None:
    script: list[Event] = [Started(40, 8, 0), *answer, Finished(Usage(40, 8, 12, 2))]
    thinking: Any = {"type": "adaptive", "display": "omitted" if hidden else "summarized"}
    async with client_for(ScriptedInference(script)) as client:
        whole = await client.messages.create(model="org/small", max_tokens=12, messages=USER, thinking=thinking)
        async with client.messages.stream(model="org/small", max_tokens=12, messages=USER, thinking=thinking) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        message.id = "msg"
        for block in message.content:
            if block.type == "thinking" and hidden:
                block.signature = SEAL.open(block.signature) or "?"
    assert streamed.model_dump(exclude={"content": {"__all__": {"parsed_output"}}}) == whole.model_dump()
