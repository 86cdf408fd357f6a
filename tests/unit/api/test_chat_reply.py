from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.chat_options import StreamOptions
from appliance.api.chat_reply import StreamReply, WholeReply
from appliance.api.codec import Stamp
from appliance.api.custom_tools import custom_tool
from appliance.api.diagnostics import Diagnostics
from appliance.api.postscript import Postscript
from appliance.conversation import Conversation, Ignored, Message, Reporting, Role, Sampling, Text
from appliance.generation import Delta, Event, Finished, FinishReason, Started, TokenLogprob, ToolCallDelta, Usage

STAMP = Stamp("chatcmpl-1", 1_700_000_000)
CUSTOM = custom_tool("patch", None, None)
reasons = st.sampled_from([reason for reason in FinishReason if reason is not FinishReason.ABORT])
short = st.text(max_size=4)
json_pieces = st.sampled_from(['{"input": "', '{"inp', 'ut":"', "a\\", 'n"}', "\\ud83d", "\\ude00"])
numbers = st.floats(allow_nan=False, max_value=0)
logprobs = st.builds(
    TokenLogprob,
    short,
    numbers,
    st.binary(max_size=3),
    st.lists(st.builds(TokenLogprob, short, numbers, st.binary(max_size=3)), max_size=2).map(tuple),
)


@st.composite
def choice_deltas(draw: st.DrawFn, choice: int) -> list[Delta]:
    """What one choice may say: any mix of text, thinking and calls, whose ids come with their first pieces."""
    known: set[int] = set()
    deltas = []
    for _ in range(draw(st.integers(1, 6))):
        pieces = []
        for index in draw(st.lists(st.integers(0, 2), max_size=3)):
            is_first = index not in known
            known.add(index)
            call_id = f"call_{choice}_{index}" if is_first else None
            name = draw(st.sampled_from(["read", "patch"])) if is_first else None
            pieces.append(ToolCallDelta(index, call_id, name, draw(st.one_of(short, json_pieces))))
        entries = tuple(draw(st.lists(logprobs, max_size=2)))
        deltas.append(Delta(choice, draw(short), draw(short), tuple(pieces), entries, tokens=draw(st.integers(0, 3))))
    last = deltas.pop()
    stop = draw(st.one_of(st.none(), st.integers(0, 9), short))
    deltas.append(Delta(choice, last.text, last.thinking, last.tool_calls, last.logprobs, draw(reasons), stop))
    return deltas


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, list[Event]]:
    """The number of choices, and events in which the choices take turns in any order."""
    num_choices = draw(st.integers(1, 3))
    rows = [draw(choice_deltas(choice)) for choice in range(num_choices)]
    events: list[Event] = [Started(9, 8, worker=0)]
    while any(rows):
        turn = draw(st.sampled_from([choice for choice, row in enumerate(rows) if row]))
        events.append(rows[turn].pop(0))
    return num_choices, [*events, Finished(Usage(9, 8, 7, 6))]


def asking(num_choices: int, reporting: Reporting | None = None) -> Conversation:
    return Conversation(
        "m",
        (Message(Role.USER, (Text("Hi"),)),),
        tools=(CUSTOM,),
        sampling=Sampling(n=num_choices, logprobs=0),
        reporting=reporting or Reporting(),
    )


def streamed(
    num_choices: int,
    events: list[Event],
    *,
    include_usage: bool = True,
    continuous_usage: bool = False,
    reporting: Reporting | None = None,
) -> list[dict[str, Any]]:
    conversation = asking(num_choices, reporting)
    postscript = Postscript(conversation, STAMP.id, Diagnostics(4))
    reply = StreamReply(STAMP, conversation, postscript, StreamOptions(True, include_usage, continuous_usage))
    frames = b"".join(reply.add(event) for event in events) + reply.end()
    *payloads, done, nothing = frames.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [msgspec.json.decode(payload.removeprefix(b"data: ")) for payload in payloads]


def whole(num_choices: int, events: list[Event], reporting: Reporting | None = None) -> dict[str, Any]:
    conversation = asking(num_choices, reporting)
    reply = WholeReply(STAMP, conversation, Postscript(conversation, STAMP.id, Diagnostics(4)))
    assert all(reply.add(event) == b"" for event in events)
    answer: dict[str, Any] = msgspec.json.decode(reply.end())
    return answer


def put_together(chunks: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Every choice as a client accumulates it: strings are joined, calls found by index, the rest is set."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"index": piece["index"], "message": {}, "logprobs": []})
            _accumulate(choice["message"], piece["delta"])
            choice["logprobs"] += (piece["logprobs"] or {"content": []})["content"]
            if piece["finish_reason"] is not None:
                choice["finish_reason"] = piece["finish_reason"]
                choice["stop_reason"] = piece["stop_reason"]
    return choices


def _accumulate(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("role", "content", "reasoning_content", "reasoning"):
        if name in delta:
            message[name] = message.get(name, "") + delta[name]
    for piece in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", {})
        call = calls.setdefault(piece["index"], {})
        call |= {name: piece[name] for name in ("id", "type") if name in piece}
        kind = "custom" if "custom" in piece else "function"
        body = call.setdefault(kind, {})
        for name, text in piece[kind].items():
            body[name] = body.get(name, "") + text


@given(answers())
def test_the_chunks_of_a_stream_put_together_are_the_whole_answer(answer: tuple[int, list[Event]]) -> None:
    chunks = streamed(*answer)
    body = whole(*answer)
    together = put_together(chunks)
    for expected in body["choices"]:
        found = together[expected["index"]]
        message = expected["message"]
        calls = found["message"].pop("tool_calls", {})
        assert [calls[index] for index in sorted(calls)] == message.pop("tool_calls", [])
        blank = {"content": None, "reasoning_content": None, "reasoning": None, "refusal": None}
        assert blank | found["message"] == message
        assert found["logprobs"] == expected["logprobs"]["content"]
        assert found["finish_reason"] == expected["finish_reason"]
        assert found["stop_reason"] == expected["stop_reason"]
    assert chunks[-1]["usage"] == body["usage"]


@given(answers())
def test_usage_is_in_the_last_chunk_only_and_only_when_wanted(answer: tuple[int, list[Event]]) -> None:
    *before, last = streamed(*answer, include_usage=True)
    assert [chunk["usage"] for chunk in before] == [None] * len(before)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 16)
    assert not any("usage" in chunk for chunk in streamed(*answer, include_usage=False))


@given(answers())
def test_where_counts_are_wanted_all_along_every_chunk_has_those_of_its_choice(
    answer: tuple[int, list[Event]],
) -> None:
    *before, last = streamed(*answer, continuous_usage=True)
    counted: dict[int, list[int]] = {}
    for chunk in before:
        usage, (piece,) = chunk["usage"], chunk["choices"]
        counted.setdefault(piece["index"], []).append(usage["completion_tokens"])
        assert (usage["prompt_tokens"], usage["prompt_tokens_details"]) == (9, {"cached_tokens": 8})
        assert usage["total_tokens"] == 9 + usage["completion_tokens"]
    for choice, counts in counted.items():
        made = [event.tokens for event in answer[1] if isinstance(event, Delta) and event.choice == choice]
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (0, sum(made))
    assert last == streamed(*answer)[-1]


@given(answers())
def test_every_choice_begins_with_its_role_and_finishes_once(answer: tuple[int, list[Event]]) -> None:
    num_choices, _ = answer
    chunks = streamed(*answer, include_usage=False)
    for index in range(num_choices):
        pieces = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert pieces[0]["delta"] == {"role": "assistant"}
        assert [piece["finish_reason"] is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_an_answer_that_said_nothing_has_empty_content() -> None:
    events: list[Event] = [Started(9, 8, 0), Delta(0, finish=FinishReason.STOP), Finished(Usage(9, 8, 0))]
    assert whole(1, events)["choices"][0]["message"]["content"] == ""
    assert put_together(streamed(1, events))[0]["message"] == {"role": "assistant", "content": ""}


def test_content_is_null_beside_tool_calls_alone() -> None:
    call = Delta(0, tool_calls=(ToolCallDelta(0, "c", "f", "{}"),), finish=FinishReason.TOOL_CALLS)
    events: list[Event] = [Started(9, 8, 0), call, Finished(Usage(9, 8, 1))]
    assert whole(1, events)["choices"][0]["message"]["content"] is None
    assert "content" not in put_together(streamed(1, events))[0]["message"]


END: list[Event] = [Started(9, 8, 1), Delta(0, text="x", finish=FinishReason.STOP), Finished(Usage(9, 8, 1))]
TOLD = {"worker_id": {"prefill_worker_id": 1, "decode_worker_id": 1}}


def test_what_was_asked_for_goes_with_the_usage() -> None:
    reporting = Reporting(frozenset({"worker_id"}))
    chunks = streamed(1, END, reporting=reporting)
    assert [chunk.get("nvext") for chunk in chunks] == [None] * 3 + [TOLD]
    assert (chunks[-1]["choices"], whole(1, END, reporting)["nvext"]) == ([], TOLD)


def test_where_no_usage_is_wanted_it_goes_with_the_last_finish() -> None:
    chunks = streamed(1, END, include_usage=False, reporting=Reporting(frozenset({"worker_id"})))
    assert [chunk.get("nvext") for chunk in chunks] == [None] * 2 + [TOLD]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_nothing_is_said_unasked_but_what_was_ignored() -> None:
    assert not {"nvext", "prompt_cache_diagnostics"} & set(whole(1, END))
    assert not any({"nvext", "prompt_cache_diagnostics"} & set(chunk) for chunk in streamed(1, END))
    reporting = Reporting(ignored=(Ignored("a", "b"),))
    assert whole(1, END, reporting)["nvext"] == {"ignored": [{"field": "a", "reason": "b"}]}


def test_a_comparison_that_was_asked_for_is_told() -> None:
    reporting = Reporting(diagnose=True, compare_with="chatcmpl-0")
    told = {"type": "comparison_response_not_found"}
    assert whole(1, END, reporting)["prompt_cache_diagnostics"] == told
    assert streamed(1, END, reporting=reporting)[-1]["prompt_cache_diagnostics"] == told
