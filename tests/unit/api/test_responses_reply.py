from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from appliance.api.codec import Stamp
from appliance.api.custom_tools import custom_arguments
from appliance.api.responses_reply import ResponseReply
from appliance.errors import GenerationFailed, NotReady
from appliance.generation import Delta, Event, Finished, FinishReason, TokenLogprob, ToolCallDelta
from tests.unit.api.responses_requests import CREATED, SEAL, body_of, new_codec
from tests.unit.api.scripted import STARTED, USAGE

Json = dict[str, Any]
STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS = [
    {"type": "function", "name": "run"},
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "mcp__files__", "description": "", "tools": [{"type": "function", "name": "read"}]},
]
DONE = Finished(USAGE)


async def reply_to(*, stream: bool, **fields: Any) -> ResponseReply:
    call = await new_codec().decode(body_of(stream=stream, tools=TOOLS, **fields), {})
    return call.reply(Stamp("resp_1", CREATED))


def frames_of(stream: bytes) -> list[Json]:
    frames = [frame.split(b"\ndata: ") for frame in stream.split(b"\n\n") if frame]
    events = [msgspec.json.decode(data) for _, data in frames]
    assert [f"event: {event['type']}".encode() for event in events] == [name for name, _ in frames]
    return events


async def streamed(events: Sequence[Event], **fields: Any) -> list[Json]:
    reply = await reply_to(stream=True, **fields)
    return frames_of(reply.begin() + b"".join(map(reply.add, events)) + reply.end())


async def whole(events: Sequence[Event], **fields: Any) -> Json:
    reply = await reply_to(stream=False, **fields)
    assert b"".join([reply.begin(), *map(reply.add, events)]) == b""
    body: Json = msgspec.json.decode(reply.end())
    return body


def kinds_of(events: Sequence[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def without_seals(body: Any) -> Any:
    """Two seals of one text differ."""
    if isinstance(body, dict):
        return {name: without_seals(value) for name, value in body.items() if name != "encrypted_content"}
    return [without_seals(value) for value in body] if isinstance(body, list) else body


CALLS: list[Event] = [
    STARTED,
    Delta(0, thinking="The user "),
    Delta(0, thinking="asks."),
    Delta(0, text="\n\n"),
    Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "run"),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments='{"a":'),)),
    Delta(0, tool_calls=(ToolCallDelta(0, arguments=" 1}"), ToolCallDelta(1, "call_2", "patch", '{"input": "x\\'))),
    Delta(0, tool_calls=(ToolCallDelta(1, arguments='ny"}'),), finish=FinishReason.TOOL_CALLS),
    DONE,
]


async def test_events_come_in_order_and_are_numbered() -> None:
    events = await streamed(CALLS)
    assert kinds_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["type"] for item in events[-1]["response"]["output"]] == [
        "reasoning",
        "function_call",
        "custom_tool_call",
    ]


async def test_a_custom_call_is_told_in_its_own_text() -> None:
    events = await streamed(CALLS)
    deltas = [event["delta"] for event in events if event["type"].endswith("input.delta")]
    assert deltas == ["x", "\ny"]
    assert events[-1]["response"]["output"][-1]["input"] == "x\ny"


async def test_a_thought_may_come_as_a_summary_and_closed() -> None:
    fields = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    events = await streamed(CALLS, **fields)
    assert kinds_of(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item = events[-1]["response"]["output"][0]
    assert item["summary"] == [{"type": "summary_text", "text": "The user asks."}]
    assert SEAL.open(item["encrypted_content"]) == "The user asks."


async def test_a_call_in_a_namespace_is_told_by_the_clients_name() -> None:
    piece = ToolCallDelta(0, "call_1", "mcp__files__read", "")
    body = await whole([STARTED, Delta(0, tool_calls=(piece,), finish=FinishReason.TOOL_CALLS), DONE])
    (item,) = body["output"]
    assert (item["name"], item["namespace"], item["arguments"]) == ("read", "mcp__files__", "{}")


async def test_white_space_before_a_call_is_no_message_and_before_a_text_it_is_part_of_it() -> None:
    assert len((await whole(CALLS))["output"]) == 3
    body = await whole([STARTED, Delta(0, text="\n"), Delta(0, text="Hi", finish=FinishReason.STOP), DONE])
    assert body["output"][0]["content"][0]["text"] == "\nHi"


@pytest.mark.parametrize("text", ["", " "])
async def test_an_answer_that_says_nothing_is_an_empty_message(text: str) -> None:
    body = await whole([STARTED, Delta(0, thinking="hm"), Delta(0, text=text, finish=FinishReason.STOP), DONE])
    assert [item["type"] for item in body["output"]] == ["reasoning", "message"]
    assert body["output"][1]["content"][0]["text"] == text


async def test_an_answer_cut_short_is_incomplete() -> None:
    events = await streamed([STARTED, Delta(0, thinking="hm", finish=FinishReason.LENGTH), DONE])
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in last["output"]] == ["incomplete"]
    assert last["completed_at"] is None


async def test_logprobs_stand_beside_the_text() -> None:
    entry = TokenLogprob("é", -0.5, "é".encode(), (TokenLogprob("e", float("-inf"), b"e"),))
    script: list[Event] = [STARTED, Delta(0, text="é", logprobs=(entry,), finish=FinishReason.STOP), DONE]
    events = await streamed(script, include=["message.output_text.logprobs"], top_logprobs=1)
    (delta,) = (event for event in events if event["type"].endswith("text.delta"))
    top = {"token": "e", "logprob": -9999.0, "bytes": [101]}
    told = [{"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [top]}]
    assert delta["logprobs"] == events[-1]["response"]["output"][0]["content"][0]["logprobs"] == told


async def test_usage_and_echo() -> None:
    body = await whole(CALLS, instructions="Be brief.", metadata={"a": "b"}, temperature=0.5, user="u")
    assert body["usage"] == {
        "input_tokens": 40,
        "input_tokens_details": {"cached_tokens": 32, "cache_write_tokens": 8},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 47,
    }
    assert (body["instructions"], body["metadata"], body["temperature"]) == ("Be brief.", {"a": "b"}, 0.5)
    assert (body["tools"], body["tool_choice"], body["user"], body["top_p"]) == (TOOLS, "auto", "u", None)
    assert (body["id"], body["created_at"], body["completed_at"]) == ("resp_1", CREATED, CREATED)


async def test_prewarming_answers_nothing() -> None:
    script: list[Event] = [STARTED, Delta(0, text="H", finish=FinishReason.LENGTH), DONE]
    body = await whole(script, prompt_cache_options={"prewarm": True})
    assert (body["status"], body["output"]) == ("completed", [])


async def test_a_comparison_is_answered() -> None:
    body = await whole(CALLS, prompt_cache_options={"comparison_response_id": "resp_0"})
    assert body["prompt_cache_diagnostics"] == {"type": "comparison_response_not_found"}


async def test_a_failure_is_told_and_keeps_what_was_said() -> None:
    reply = await reply_to(stream=True)
    reply.begin()
    reply.add(Delta(0, text="Hel"))
    events = frames_of(reply.fail(NotReady("the box is draining")))
    assert kinds_of(events) == ["output_text.done", "content_part.done", "output_item.done", "error", "failed"]
    assert (events[-2]["code"], events[-2]["message"]) == ("server_error", "the box is draining")
    last = events[-1]["response"]
    assert (last["status"], last["error"]["message"]) == ("failed", "the box is draining")
    assert last["output"][0]["content"][0]["text"] == "Hel"


async def test_a_cancelled_answer_keeps_what_was_said() -> None:
    reply = await reply_to(stream=True)
    reply.add(Delta(0, text="Hel"))
    reply.cancel()
    assert reply.status == "cancelled"
    assert msgspec.json.decode(reply.body)["output"][0]["status"] == "incomplete"
    assert [item.id for item in reply.output()] == ["msg_10000"]


async def test_a_call_that_goes_on_after_the_next_item_has_begun_is_a_failure() -> None:
    reply = await reply_to(stream=False)
    reply.add(Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "run"), ToolCallDelta(1, "call_2", "run"))))
    with pytest.raises(GenerationFailed):
        reply.add(Delta(0, tool_calls=(ToolCallDelta(0, arguments="{}"),)))


@pytest.mark.parametrize("script", [[STARTED, Delta(0, text="a"), DONE], [Delta(0, finish=FinishReason.STOP)]])
async def test_an_answer_without_its_end_is_a_failure(script: list[Event]) -> None:
    reply = await reply_to(stream=False)
    for event in script:
        reply.add(event)
    with pytest.raises(GenerationFailed):
        reply.end()


pieces = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
thinking = pieces.map(lambda text: [Delta(0, thinking=text)])
speech = st.one_of(pieces, st.just("\n")).map(lambda text: [Delta(0, text=text)])


@st.composite
def calls(draw: Any) -> list[Delta]:
    name = draw(st.sampled_from(["run", "patch", "mcp__files__read", "unknown"]))
    arguments = draw(st.one_of(pieces, pieces.map(custom_arguments)))
    cut = draw(st.integers(0, len(arguments)))
    first = ToolCallDelta(0, "id", name, arguments[:cut])
    return [Delta(0, tool_calls=(first,)), Delta(0, tool_calls=(ToolCallDelta(0, arguments=arguments[cut:]),))]


def script_of(parts: list[list[Delta]], finish: FinishReason) -> list[Event]:
    """Calls are numbered as they come."""
    deltas: list[Event] = []
    for number, part in enumerate(parts):
        for delta in part:
            renumbered = tuple(
                ToolCallDelta(number, call.id and f"{call.id}{number}", call.name, call.arguments)
                for call in delta.tool_calls
            )
            deltas.append(Delta(0, delta.text, delta.thinking, renumbered))
    return [STARTED, *deltas, Delta(0, finish=finish), DONE]


scripts = st.builds(
    script_of,
    st.lists(st.one_of(thinking, speech, calls()), max_size=6),
    st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]),
)
styles = st.sampled_from([{}, {"reasoning": {"summary": "auto"}}, {"include": ["reasoning.encrypted_content"]}])


@given(scripts, styles)
async def test_a_stream_ends_in_the_answer_that_comes_whole_without_one(script: list[Event], style: Json) -> None:
    events = await streamed(script, **style)
    body = await whole(script, **style)
    assert without_seals(events[-1]["response"]) == without_seals(body)
    Response.model_validate(body)
    for event in events:
        STREAM_EVENT.validate_python(event)


@given(scripts, styles)
async def test_deltas_put_together_are_the_items_of_the_answer(script: list[Event], style: Json) -> None:
    events = await streamed(script, **style)
    texts: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    for index, item in enumerate(events[-1]["response"]["output"]):
        parts = item.get("content") or item.get("summary") or [{"text": item.get("arguments", item.get("input"))}]
        assert parts[0]["text"] == texts.get(index, "")
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]


@given(scripts)
async def test_the_official_accumulator_takes_every_stream(script: list[Event]) -> None:
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    events = await streamed(script)
    for event in events:
        state.handle_event(STREAM_EVENT.validate_python(event))
    if events[-1]["type"] == "response.completed":
        assert len(state._completed_response.output) == len(events[-1]["response"]["output"])
