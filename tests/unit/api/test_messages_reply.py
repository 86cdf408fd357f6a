from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.api.codec import Stamp
from appliance.api.context_clearing import Applied
from appliance.api.context_edits import ClearThinking, ClearToolUses
from appliance.api.diagnostics import Diagnostics, fingerprint_of
from appliance.api.messages_answer import Answer, Request
from appliance.api.messages_reply import StreamReply, WholeReply
from appliance.conversation import Conversation, Ignored, Message, Reporting, Role, Sampling, Text
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Event, Finished, FinishReason, MarkedPrefix, Started, ToolCallDelta, Usage
from tests.unit.api.messages_requests import SEAL

STAMP = Stamp("msg_1", 1_700_000_000)
STARTED = Started(100, 20, 3, (MarkedPrefix(60, 3600.0), MarkedPrefix(90, 300.0)))
FINISHED = Finished(Usage(100, 20, 7, 3))


def conversation(**fields: Any) -> Conversation:
    return Conversation("m", (Message(Role.USER, (Text("Hi"),)),), sampling=Sampling(max_tokens=7), **fields)


def answer(request: Request | None = None, diagnostics: Diagnostics | None = None) -> Answer:
    return Answer(STAMP, request or Request(conversation()), SEAL, diagnostics or Diagnostics(8))


def end(finish: FinishReason = FinishReason.STOP, matched_stop: str | int | None = None) -> Delta:
    return Delta(0, finish=finish, matched_stop=matched_stop)


def stream(*events: Event, request: Request | None = None) -> list[tuple[str, Any]]:
    """The name and the body of every event."""
    reply = StreamReply(answer(request))
    frames = reply.begin() + b"".join(map(reply.add, events)) + reply.end()
    found = []
    for frame in frames.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def whole(*events: Event, request: Request | None = None, diagnostics: Diagnostics | None = None) -> Any:
    reply = WholeReply(answer(request, diagnostics))
    assert reply.begin() == b""
    assert all(reply.add(event) == b"" for event in events)
    return json.loads(reply.end())


def test_the_frames_of_a_stream_in_order() -> None:
    calls = (ToolCallDelta(0, "chatcmpl-tool-a", "weather", '{"city": "Bern"}'),)
    events = stream(
        STARTED,
        Delta(0, thinking="Hm"),
        Delta(0, text="Hel"),
        Delta(0, text="lo"),
        Delta(0, tool_calls=calls),
        end(FinishReason.TOOL_CALLS),
        FINISHED,
    )
    assert all(name == body["type"] for name, body in events)
    assert [body for _, body in events] == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 10,
                    "cache_creation_input_tokens": 70,
                    "cache_read_input_tokens": 20,
                    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
                    "output_tokens": 0,
                    "service_tier": "standard",
                },
            },
        },
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": SEAL.sign("Hm")}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"city": "Bern"}'},
        },
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 70,
                "cache_read_input_tokens": 20,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        },
        {"type": "message_stop"},
    ]


def test_a_whole_answer() -> None:
    assert whole(STARTED, Delta(0, text="Hello"), end(), FINISHED) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 70,
            "cache_read_input_tokens": 20,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 3},
            "service_tier": "standard",
        },
    }


CALL = Delta(0, tool_calls=(ToolCallDelta(0, "call_1", "f", "{}"),))


@pytest.mark.parametrize(
    ("deltas", "completion_tokens", "expected"),
    [
        ((end(),), 3, ("end_turn", None)),
        ((end(matched_stop=128009),), 3, ("end_turn", None)),
        ((end(matched_stop="END"),), 3, ("stop_sequence", "END")),
        ((CALL, end(FinishReason.TOOL_CALLS)), 3, ("tool_use", None)),
        ((CALL, end()), 3, ("tool_use", None)),
        ((CALL, end(FinishReason.LENGTH)), 7, ("max_tokens", None)),
        ((end(FinishReason.LENGTH),), 7, ("max_tokens", None)),
        ((end(FinishReason.LENGTH),), 6, ("model_context_window_exceeded", None)),
    ],
)
def test_why_an_answer_stopped(
    deltas: tuple[Delta, ...], completion_tokens: int, expected: tuple[str, str | None]
) -> None:
    body = whole(STARTED, *deltas, Finished(Usage(100, 20, completion_tokens)))
    assert (body["stop_reason"], body["stop_sequence"]) == expected


def test_an_answer_that_said_nothing_has_no_content() -> None:
    assert whole(STARTED, Delta(0, text="\n"), end(), FINISHED)["content"] == []


def test_a_request_that_warms_the_cache_is_answered_with_nothing() -> None:
    request = Request(conversation(), prewarms=True)
    events = (STARTED, Delta(0, text="x"), end(FinishReason.LENGTH), FINISHED)
    body = whole(*events, request=request)
    assert (body["content"], body["stop_reason"], body["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert body["usage"]["cache_creation_input_tokens"] == 70
    assert [name for name, _ in stream(*events, request=request)] == [
        "message_start",
        "ping",
        "message_delta",
        "message_stop",
    ]


def test_thoughts_that_are_wanted_closed_are_in_their_signature() -> None:
    request = Request(conversation(), hides_thinking=True)
    (block,) = whole(STARTED, Delta(0, thinking="Hm"), end(), FINISHED, request=request)["content"]
    assert block["thinking"] == ""
    assert SEAL.open(block["signature"]) == "Hm"


def test_the_edits_that_were_made_are_told_at_the_end() -> None:
    applied = (Applied(ClearThinking(1), 2, 30), Applied(ClearToolUses(), 5, 600))
    expected = {
        "applied_edits": [
            {"type": "clear_thinking_20251015", "cleared_thinking_turns": 2, "cleared_input_tokens": 30},
            {"type": "clear_tool_uses_20250919", "cleared_tool_uses": 5, "cleared_input_tokens": 600},
        ]
    }
    request = Request(conversation(), applied)
    assert whole(STARTED, end(), FINISHED, request=request)["context_management"] == expected
    assert stream(STARTED, end(), FINISHED, request=request)[-2][1]["context_management"] == expected
    none = Request(conversation(), ())
    assert whole(STARTED, end(), FINISHED, request=none)["context_management"] == {"applied_edits": []}


def test_what_was_ignored_is_told_at_the_end() -> None:
    reporting = Reporting(fields=frozenset({"worker_id"}), ignored=(Ignored("x", "unknown"),))
    request = Request(conversation(reporting=reporting))
    expected = {
        "ignored": [{"field": "x", "reason": "unknown"}],
        "worker_id": {"prefill_worker_id": 3, "decode_worker_id": 3},
    }
    assert whole(STARTED, end(), FINISHED, request=request)["nvext"] == expected
    assert stream(STARTED, end(), FINISHED, request=request)[-2][1]["nvext"] == expected


def diagnosed(previous: Conversation | None, current: Conversation) -> Any:
    diagnostics = Diagnostics(8)
    if previous is not None:
        diagnostics.record("msg_0", fingerprint_of(previous))
    return whole(STARTED, end(), FINISHED, request=Request(current), diagnostics=diagnostics)["diagnostics"]


def test_why_the_cache_was_missed() -> None:
    asking = conversation(reporting=Reporting(diagnose=True, compare_with="msg_0"))
    other = Conversation("m", (Message(Role.USER, (Text("Other"),)),))
    assert diagnosed(conversation(), asking) is None
    assert diagnosed(None, asking) == {"cache_miss_reason": {"type": "previous_message_not_found"}}
    assert diagnosed(other, asking) == {
        "cache_miss_reason": {"type": "messages_changed", "cache_missed_input_tokens": 80, "at": "messages[0]"}
    }
    assert diagnosed(None, conversation(reporting=Reporting(diagnose=True))) is None
    assert "diagnostics" not in whole(STARTED, end(), FINISHED)
    start = stream(STARTED, end(), FINISHED, request=Request(asking))[0][1]["message"]
    assert start["diagnostics"] == {"cache_miss_reason": {"type": "previous_message_not_found"}}


@pytest.mark.parametrize(
    "events",
    [
        (STARTED, FINISHED),
        (STARTED, Delta(0, text="x"), FINISHED),
        (STARTED, end(FinishReason.ABORT), FINISHED),
        (end(), FINISHED),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(events: tuple[Event, ...]) -> None:
    with pytest.raises(GenerationFailed):
        whole(*events)
    with pytest.raises(GenerationFailed):
        stream(*events)


def test_a_whole_answer_needs_its_token_counts() -> None:
    with pytest.raises(GenerationFailed):
        whole(STARTED, end())
