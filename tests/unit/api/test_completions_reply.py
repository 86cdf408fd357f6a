from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.chat_options import StreamOptions
from appliance.api.codec import Stamp
from appliance.api.completions_reply import StreamReply, WholeReply
from appliance.api.postscript import Postscript
from appliance.conversation import Conversation, Reporting
from appliance.errors import GenerationFailed
from appliance.generation import Delta, Event, Finished, FinishReason, Started, TokenLogprob, Usage

STAMP = Stamp("cmpl-1", 1_700_000_000)
USAGE = Usage(9, 8, 7)
short = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
entries = st.builds(
    TokenLogprob,
    short,
    st.floats(-9, 0),
    st.just(b""),
    st.lists(st.builds(TokenLogprob, short, st.floats(-9, 0), st.just(b"")), max_size=2).map(tuple),
)
reasons = st.sampled_from([FinishReason.STOP, FinishReason.LENGTH])


def postscript(*fields: str) -> Postscript:
    return Postscript(Conversation("m", (), reporting=Reporting(frozenset(fields))), STAMP.id)


def streamed(
    openings: list[str],
    events: list[Event],
    *fields: str,
    include_usage: bool = True,
    continuous_usage: bool = False,
) -> list[dict[str, Any]]:
    options = StreamOptions(True, include_usage, continuous_usage)
    reply = StreamReply(STAMP, "m", postscript(*fields), openings, options)
    frames = b"".join(reply.add(event) for event in events) + reply.end()
    *payloads, done, nothing = frames.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [msgspec.json.decode(payload.removeprefix(b"data: ")) for payload in payloads]


def whole(openings: list[str], events: list[Event], *fields: str) -> dict[str, Any]:
    reply = WholeReply(STAMP, "m", postscript(*fields), openings, with_logprobs=True)
    assert all(reply.add(event) == b"" for event in events)
    answer: dict[str, Any] = msgspec.json.decode(reply.end())
    return answer


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], list[Event]]:
    openings = draw(st.lists(short, min_size=1, max_size=3))
    rows: list[list[Delta]] = []
    for choice in range(len(openings)):
        deltas = draw(
            st.lists(st.builds(Delta, st.just(choice), short, logprobs=st.lists(entries, max_size=2).map(tuple)))
        )
        last = Delta(choice, draw(short), finish=draw(reasons), matched_stop=draw(st.one_of(st.none(), short)))
        rows.append([*deltas, last])
    events: list[Event] = [Started(9, 8, worker=0)]
    while any(rows):
        turn = draw(st.sampled_from([choice for choice, row in enumerate(rows) if row]))
        events.append(rows[turn].pop(0))
    return openings, [*events, Finished(USAGE)]


@given(answers(), st.booleans())
def test_the_chunks_of_a_stream_put_together_are_the_whole_answer(
    answer: tuple[list[str], list[Event]], include_usage: bool
) -> None:
    body = whole(*answer)
    choices: dict[int, dict[str, Any]] = {}
    chunks = streamed(*answer, include_usage=include_usage)
    for piece in [piece for chunk in chunks for piece in chunk["choices"]]:
        choice = choices.setdefault(piece["index"], {"index": piece["index"], "text": "", "logprobs": {}})
        choice["text"] += piece["text"]
        for name, values in (piece["logprobs"] or {}).items():
            choice["logprobs"].setdefault(name, []).extend(values)
        choice |= {name: piece[name] for name in ("finish_reason", "stop_reason")}
    empty: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for expected in body["choices"]:
        found = choices[expected["index"]]
        assert found | {"logprobs": empty | found["logprobs"]} == expected
    assert chunks[-1].get("usage") == (body["usage"] if include_usage else None)


@given(answers())
def test_only_a_chunk_with_usage_has_no_choice(answer: tuple[list[str], list[Event]]) -> None:
    assert all(len(chunk["choices"]) == 1 for chunk in streamed(*answer, include_usage=False))
    *chunks, last = streamed(*answer)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    assert (last["choices"], last["usage"]["prompt_tokens_details"]) == ([], {"cached_tokens": 8})


def test_where_counts_are_wanted_all_along_every_chunk_has_those_of_its_choice() -> None:
    made = [Delta(0, "a", tokens=2), Delta(1, "b", tokens=1), Delta(0, "", tokens=1)]
    ends = [Delta(choice, finish=FinishReason.STOP, tokens=1) for choice in (1, 0)]
    events: list[Event] = [Started(9, 8, 0), *made, *ends, Finished(USAGE)]
    *before, last = streamed(["Hi", ""], events, continuous_usage=True)
    told = [(chunk["choices"][0]["index"], chunk["usage"]["completion_tokens"]) for chunk in before]
    assert told == [(0, 0), (0, 2), (1, 1), (1, 2), (0, 4)]
    assert {chunk["usage"]["total_tokens"] - chunk["usage"]["completion_tokens"] for chunk in before} == {9}
    assert last["usage"]["completion_tokens"] == USAGE.completion_tokens


def test_alternatives_include_the_token_and_offsets_begin_after_the_echo() -> None:
    entry = TokenLogprob("ab", -0.5, b"ab", (TokenLogprob("c", float("-inf"), b"c"),))
    events: list[Event] = [Started(1, 0, 0), Delta(0, "abab", logprobs=(entry, entry), finish=FinishReason.STOP)]
    (choice,) = whole(["Hi "], [*events, Finished(USAGE)])["choices"]
    assert choice["text"] == "Hi abab"
    assert choice["logprobs"] == {
        "tokens": ["ab", "ab"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"c": -9999.0, "ab": -0.5}] * 2,
        "text_offset": [3, 5],
    }


def test_the_extension_goes_with_the_usage_or_the_last_finish() -> None:
    events: list[Event] = [Started(1, 0, 3), Delta(0, finish=FinishReason.STOP), Finished(USAGE)]
    told = {"prefill_worker_id": 3, "decode_worker_id": 3}
    assert whole([""], events, "worker_id")["nvext"]["worker_id"] == told
    assert streamed([""], events, "worker_id")[-1]["nvext"]["worker_id"] == told
    (only,) = streamed([""], events, "worker_id", include_usage=False)
    assert (only["nvext"]["worker_id"], only["choices"][0]["finish_reason"]) == (told, "stop")


def test_an_answer_that_was_broken_off_is_an_error() -> None:
    with pytest.raises(GenerationFailed):
        whole([""], [Delta(0, finish=FinishReason.ABORT)])
    with pytest.raises(GenerationFailed, match="without its token counts"):
        whole([""], [Delta(0, finish=FinishReason.STOP)])
    with pytest.raises(GenerationFailed, match="choice 1"):
        streamed(["", ""], [Delta(0, finish=FinishReason.STOP), Finished(USAGE)])
    with pytest.raises(GenerationFailed, match="choice 1"):
        whole(["", ""], [Delta(0, finish=FinishReason.STOP), Finished(USAGE)])
