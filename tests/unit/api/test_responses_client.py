"""The official client against the responses API: what it sends is understood, what it gets back it understands."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ToolParam
from pydantic import BaseModel

from appliance.api.custom_tools import custom_arguments
from appliance.conversation import Message, OutputKind, Role, Text, Thinking, ToolCall, ToolResult
from appliance.errors import GenerationFailed, NotReady
from appliance.generation import Delta, Finished, FinishReason, ToolCallDelta
from tests.unit.api.scripted import HELLO, STARTED, USAGE, Connection, ScriptedInference, Step, client_of, new_app
from tests.unit.api.test_openai_client import official_client

RUN: ToolParam = {"type": "function", "name": "run", "parameters": {"type": "object"}, "strict": False}
PATCH: ToolParam = {"type": "custom", "name": "apply_patch"}
PATH = "/v1/responses"
CALLS: tuple[Step, ...] = (
    STARTED,
    Delta(0, thinking="The user asks."),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "run", '{"a": 1}'),)),
    Delta(0, tool_calls=(ToolCallDelta(1, "call_2", "apply_patch", custom_arguments("x\ny")),)),
    Delta(0, finish=FinishReason.TOOL_CALLS),
    Finished(USAGE),
)
ANSWER = Message(
    Role.ASSISTANT,
    (
        Thinking("The user asks."),
        ToolCall("call_1", "run", '{"a": 1}'),
        ToolCall("call_2", "apply_patch", custom_arguments("x\ny")),
    ),
)
OUTPUTS: list[Any] = [
    {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": "patched"},
]
RESULTS = (
    Message(Role.TOOL, (ToolResult("call_1", (Text("done"),)),)),
    Message(Role.TOOL, (ToolResult("call_2", (Text("patched"),)),)),
)
ASKED = Message(Role.USER, (Text("Hi"),))


def client_for(inference: ScriptedInference, **options: Any) -> openai.AsyncOpenAI:
    return official_client(client_of(new_app(inference, **options)))


async def ask(client: openai.AsyncOpenAI, **fields: Any) -> Response:
    response: Response = await client.responses.create(**{"model": "org/small", "input": "Hi", **fields})
    return response


async def until_finished(client: openai.AsyncOpenAI, response_id: str) -> Response:
    async with asyncio.timeout(5):
        while True:
            response = await client.responses.retrieve(response_id)
            if response.status not in ("queued", "in_progress"):
                return response
            await asyncio.sleep(0)


async def test_a_whole_answer() -> None:
    async with client_for(ScriptedInference()) as client:
        response = await ask(client)
    assert (response.status, response.output_text, response.object) == ("completed", "Hello", "response")
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 32
    assert response.error is None
    assert response.incomplete_details is None


async def test_the_stream_helper_ends_in_the_whole_answer() -> None:
    async with client_for(ScriptedInference(CALLS)) as client:
        async with client.responses.stream(model="org/small", input="Hi", tools=[RUN, PATCH]) as stream:
            streamed = await stream.get_final_response()
        whole = await ask(client, tools=[RUN, PATCH])
    kinds = ["reasoning", "function_call", "custom_tool_call"]
    assert [item.type for item in streamed.output] == [item.type for item in whole.output] == kinds
    call = streamed.output[1]
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.arguments == '{"a": 1}'


class City(BaseModel):
    name: str


async def test_a_parsed_answer() -> None:
    answer = Delta(0, text='{"name": "Bern"}', finish=FinishReason.STOP)
    inference = ScriptedInference([STARTED, answer, Finished(USAGE)])
    async with client_for(inference) as client:
        response = await client.responses.parse(model="org/small", input="Hi", text_format=City)
    assert response.output_parsed == City(name="Bern")
    assert inference.conversations[0].output_format.kind is OutputKind.JSON_SCHEMA


async def test_a_tool_loop_over_kept_responses() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await ask(client, tools=[RUN, PATCH], instructions="Be brief.")
        inference.script = HELLO
        second = await ask(client, input=OUTPUTS, previous_response_id=first.id, tools=[RUN, PATCH])
        await ask(client, input="Thanks", previous_response_id=second.id)
    assert second.previous_response_id == first.id
    assert inference.conversations[1].messages == (ASKED, ANSWER, *RESULTS)
    assert inference.conversations[2].messages == (
        *(ASKED, ANSWER, *RESULTS),
        Message(Role.ASSISTANT, (Text("Hello"),)),
        Message(Role.USER, (Text("Thanks"),)),
    )


async def test_a_tool_loop_that_keeps_nothing_but_what_the_client_holds() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await ask(client, store=False, include=["reasoning.encrypted_content"], reasoning={"summary": "auto"})
        history: list[Any] = [{"role": "user", "content": "Hi"}]
        history += [item.model_dump(exclude_none=True) for item in first.output]
        history[1]["summary"] = []
        await ask(client, input=[*history, *OUTPUTS], store=False)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)
    messages = inference.conversations[1].messages
    assert messages == (ASKED, ANSWER, *RESULTS)


async def test_a_whole_output_can_be_sent_back_as_it_came() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await ask(client, tools=[RUN, PATCH])
        history: list[Any] = [{"role": "user", "content": "Hi"}, *first.output, *OUTPUTS]
        second = await ask(client, input=history)
        items = [item async for item in client.responses.input_items.list(second.id, order="asc")]
    assert inference.conversations[1].messages == (ASKED, ANSWER, *RESULTS)
    assert len(items) == 6


async def test_items_can_be_named_by_their_ids() -> None:
    inference = ScriptedInference(CALLS)
    async with client_for(inference) as client:
        first = await ask(client, tools=[RUN, PATCH])
        references: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
        await ask(client, input=[*references, {"id": references[0]["id"]}, *OUTPUTS])
        with pytest.raises(openai.NotFoundError, match="rs_nothing"):
            await ask(client, input=[{"type": "item_reference", "id": "rs_nothing"}])
    assert inference.conversations[1].messages[0] == ANSWER


async def test_kept_responses_can_be_retrieved_listed_and_deleted() -> None:
    async with client_for(ScriptedInference()) as client:
        first = await ask(client, input=[{"role": "user", "content": "a"}, {"role": "developer", "content": "b"}])
        again = await client.responses.retrieve(first.id)
        page = await client.responses.input_items.list(first.id, limit=1)
        items = [item async for item in page]
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError) as gone:
            await client.responses.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.input_items.list(first.id)
    assert again == first
    assert [item.content[0].text for item in items if item.type == "message"] == ["b", "a"]  # type: ignore[union-attr]  # both are input texts
    assert page.has_more
    assert gone.value.code == "response_not_found"


async def test_a_previous_response_that_is_not_there_is_told_as_hosted_services_do() -> None:
    async with client_for(ScriptedInference()) as client:
        with pytest.raises(openai.BadRequestError) as unknown:
            await ask(client, previous_response_id="resp_nothing")
        with pytest.raises(openai.NotFoundError) as lost:
            await ask(client, conversation="conv_nothing")
        with pytest.raises(openai.BadRequestError) as both:
            await ask(client, conversation="conv_nothing", previous_response_id="resp_nothing")
    assert (unknown.value.code, unknown.value.param) == ("previous_response_not_found", "previous_response_id")
    assert lost.value.code == "conversation_not_found"
    assert both.value.code == "mutually_exclusive_parameters"


async def test_a_background_response_is_made_without_anyone_waiting() -> None:
    gate = asyncio.Event()
    async with client_for(ScriptedInference([gate, *HELLO])) as client:
        begun = await ask(client, background=True)
        assert (begun.status, begun.output, begun.background) == ("queued", [], True)
        with pytest.raises(openai.BadRequestError, match="not finished"):
            await ask(client, previous_response_id=begun.id)
        gate.set()
        done = await until_finished(client, begun.id)
    assert (done.status, done.output_text) == ("completed", "Hello")


async def test_a_background_response_can_be_cancelled_once_and_again() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    async with client_for(inference) as client:
        begun = await ask(client, background=True)
        await inference.opened.wait()
        cancelled = await client.responses.cancel(begun.id)
        assert await client.responses.cancel(begun.id) == cancelled
        inference.script = HELLO
        foreground = await ask(client)
        with pytest.raises(openai.BadRequestError, match="synchronous"):
            await client.responses.cancel(foreground.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel("resp_nothing")
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hel")
    assert inference.num_open == 0


async def test_deleting_a_background_response_ends_it() -> None:
    inference = ScriptedInference([STARTED, asyncio.Event()])
    async with client_for(inference) as client:
        begun = await ask(client, background=True)
        await inference.opened.wait()
        await client.responses.delete(begun.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(begun.id)
    assert inference.num_open == 0


async def test_a_background_stream_can_be_taken_up_again() -> None:
    gate = asyncio.Event()
    app = new_app(ScriptedInference([STARTED, Delta(0, text="Hel"), gate, *HELLO[2:]]))
    body = {"model": "org/small", "input": "Hi", "background": True, "stream": True}
    connection = Connection(app, body, path=PATH)
    await connection.until_sent(b'"delta":"Hel"')
    connection.leave()
    await connection.task
    assert b"response.queued" in connection.body
    gate.set()
    async with official_client(client_of(app)) as client:
        stream = await client.responses.retrieve(_id_in(connection.body), stream=True, starting_after=4)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(5, 5 + len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "Hello"


def _id_in(stream: bytes) -> str:
    return "resp_" + stream.split(b"resp_", 1)[1].split(b'"', 1)[0].decode()


async def test_only_background_responses_can_be_followed() -> None:
    async with client_for(ScriptedInference()) as client:
        response = await ask(client)
        with pytest.raises(openai.BadRequestError, match="only background"):
            await client.responses.retrieve(response.id, stream=True)
        with pytest.raises(openai.BadRequestError, match="true or false"):
            await client.responses.retrieve(response.id, extra_query={"stream": "maybe"})


async def test_a_client_that_leaves_cancels_its_response_and_what_was_made_is_kept() -> None:
    inference = ScriptedInference([STARTED, Delta(0, text="Hel"), asyncio.Event()])
    app = new_app(inference)
    connection = Connection(app, {"model": "org/small", "input": "Hi", "stream": True}, path=PATH)
    await connection.until_sent(b'"delta":"Hel"')
    connection.leave()
    await connection.task
    assert inference.num_open == 0
    async with official_client(client_of(app)) as client:
        kept = await client.responses.retrieve(_id_in(connection.body))
    assert (kept.status, kept.output_text) == ("cancelled", "Hel")


async def test_the_first_events_do_not_wait_for_the_engine() -> None:
    prefill = asyncio.Event()
    app = new_app(ScriptedInference([prefill, *HELLO]))
    connection = Connection(app, {"model": "org/small", "input": "Hi", "stream": True}, path=PATH)
    await connection.until_sent(b"event: response.in_progress")
    prefill.set()
    await connection.task
    assert b"event: response.completed" in connection.body


async def test_errors_become_the_clients_own() -> None:
    async with client_for(ScriptedInference()) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await ask(client, temperature=3)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    async with client_for(ScriptedInference(refusal=NotReady("draining"))) as client:
        for background in (False, True):
            with pytest.raises(openai.InternalServerError, match="draining"):
                await ask(client, background=background)


@pytest.mark.parametrize("error", [GenerationFailed("the engine gave up"), ZeroDivisionError("secret")])
async def test_a_failed_stream_ends_in_its_own_event(error: Exception) -> None:
    async with client_for(ScriptedInference([STARTED, Delta(0, text="Hel"), error])) as client:
        events = [event async for event in await client.responses.create(model="org/small", input="Hi", stream=True)]
        assert [event.type for event in events[-2:]] == ["error", "response.failed"]
        last = events[-1]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert last.response.error.code == "server_error"
        assert "secret" not in last.response.error.message
        kept = await client.responses.retrieve(last.response.id)
        assert (kept.status, kept.output_text) == ("failed", "Hel")


async def test_a_failed_whole_answer_is_an_error() -> None:
    async with client_for(ScriptedInference([STARTED, GenerationFailed("the engine gave up")])) as client:
        with pytest.raises(openai.InternalServerError, match="the engine gave up"):
            await ask(client)


async def test_tokens_are_counted_also_for_a_model_that_is_not_named() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        count = await client.responses.input_tokens.count(input="Hi")
        with pytest.raises(openai.BadRequestError):
            await client.responses.input_tokens.count(model="org/small")
    assert (count.input_tokens, count.object) == (40, "response.input_tokens")


async def test_a_compacted_conversation_goes_on() -> None:
    inference = ScriptedInference(HELLO)
    async with client_for(inference) as client:
        history: list[Any] = [
            {"role": "user", "content": "Find the bug."},
            {"role": "assistant", "content": "A long story."},
        ]
        compacted = await client.responses.compact(model="org/small", input=history)
        output = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
        await ask(client, input=[*output, {"role": "user", "content": "Go on."}])
    assert (compacted.object, [item.type for item in compacted.output]) == (
        "response.compaction",
        ["message", "compaction"],
    )
    assert compacted.usage.output_tokens == 7
    asked, summary, then = inference.conversations[1].messages
    assert (asked.blocks, then.blocks) == ((Text("Find the bug."),), (Text("Go on."),))
    assert isinstance(summary.blocks[0], Text)
    assert summary.blocks[0].text.endswith("Its summary:\n\nHello")


async def test_a_conversation_without_a_summary_is_not_compacted() -> None:
    script: list[Step] = [STARTED, Delta(0, text=" ", finish=FinishReason.STOP), Finished(USAGE)]
    async with client_for(ScriptedInference(script)) as client:
        with pytest.raises(openai.InternalServerError, match="no summary"):
            await client.responses.compact(model="org/small", input="Hi")


async def test_a_comparison_tells_what_changed() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        first = await ask(client, instructions="a", store=False)
        options: Any = {"comparison_response_id": first.id}
        same = await ask(client, instructions="a", prompt_cache_options=options)
        other = await ask(client, instructions="b", prompt_cache_options=options)
    assert same.prompt_cache_diagnostics is not None
    assert same.prompt_cache_diagnostics.type == "cache_hit"
    assert other.prompt_cache_diagnostics is not None
    assert other.prompt_cache_diagnostics.type == "cache_miss"
    assert (other.prompt_cache_diagnostics.reason, other.prompt_cache_diagnostics.cache_missed_tokens) == (
        "input_changed",
        8,
    )


async def test_nvext_is_answered() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        response = await ask(client, extra_body={"nvext": {"extra_fields": ["worker_id"]}})
    worker = {"prefill_worker_id": 0, "decode_worker_id": 0}
    assert (response.model_extra or {})["nvext"] == {"worker_id": worker}


CODEX: dict[str, Any] = {
    "model": "org/small",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the bug."}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "from-another-service"},
        {"type": "function_call", "name": "exec_command", "arguments": '{"cmd":"ls"}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        {
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_2",
            "name": "apply_patch",
            "input": "*** Begin",
        },
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Success."},
        {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Thanks."}]},
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "",
            "strict": False,
            "parameters": {"type": "object"},
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        },
        {"type": "web_search", "external_web_access": False},
        {
            "type": "namespace",
            "name": "mcp__docs__",
            "description": "",
            "tools": [{"type": "function", "name": "find", "parameters": {}}],
        },
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-session",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "1"},
}


async def test_what_codex_sends() -> None:
    inference = ScriptedInference()
    async with client_of(new_app(inference)) as http:
        response = await http.post(PATH, json=CODEX, headers={"session-id": "s", "thread-id": "t"})
    assert response.status_code == 200
    assert "event: response.completed" in response.text
    (conversation,) = inference.conversations
    assert [message.role.value for message in conversation.messages] == [
        *("system", "developer", "user", "user", "assistant", "tool", "assistant", "tool", "assistant", "user")
    ]
    assert [tool.name for tool in conversation.tools] == ["exec_command", "apply_patch", "mcp__docs__find"]
    assert (conversation.identity.session_id, conversation.reasoning.effort) == ("t", "medium")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"model": "m", "input": "\xff"}',
        b'{"model": "m", "input": "\\ud800"}',
        b'{"model": "m", "input": [' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"]}",
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens", f"{PATH}/compact", "/v1/conversations"])
async def test_a_body_that_is_no_request_is_400(path: str, content: bytes) -> None:
    async with client_of(new_app(ScriptedInference())) as http:
        response = await http.post(path, content=content)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
