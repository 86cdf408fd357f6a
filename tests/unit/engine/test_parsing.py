from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vllm.logprobs import Logprob

from appliance.conversation import Sampling
from appliance.engine.parsing import LEAST_LOGPROB, AnswerParser
from appliance.engine.prompt import Prompt
from appliance.engine.rendering import Renderer
from appliance.engine.worker import Step
from appliance.generation import Delta, FinishReason
from tests.examples import examples
from tests.unit.engine.conversations import CLOCK, WEATHER, conversation

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (("weather", {"city": "Oslo", "days": 3}), ("clock", {}))
THOUGHT, ANSWER = "The user wants rain. ", "It rains in Oslo."
cuts = st.lists(st.integers(1, 9), max_size=40)
for_each_cut = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))


@pytest.fixture
async def prompt(renderer: Renderer) -> Prompt:
    return await renderer.render(conversation(tools=(WEATHER, CLOCK)))


@pytest.fixture
async def thinking_prompt(thinking_renderer: Renderer) -> Prompt:
    return await thinking_renderer.render(conversation(tools=(WEATHER, CLOCK)))


@pytest.fixture
async def plain_prompt(plain_renderer: Renderer) -> Prompt:
    return await plain_renderer.render(conversation())


def step(text: str = "", token_ids: Sequence[int] = (), *, choice: int = 0, **fields: Any) -> Step:
    known: dict[str, Any] = {"cached_tokens": 0, "logprobs": None, "finish": None, "matched_stop": None}
    return Step(choice=choice, token_ids=token_ids, text=text, **(known | fields))


def steps(renderer: Renderer, text: str, sizes: Sequence[int], *, finish: str = "stop", choice: int = 0) -> list[Step]:
    """`text` as an engine would send it, in steps of `sizes` tokens and the rest in one. ASCII: each token is text."""
    tokenizer = renderer._renderer.get_tokenizer()
    token_ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    made, begin = [], 0
    for size in [*sizes, len(token_ids)]:
        part = token_ids[begin : begin + size]
        begin += size
        if part:
            made.append(step(tokenizer.decode(part), part, choice=choice))
    return [*made, step(choice=choice, finish=finish)]


def feed(parser: AnswerParser, made: Sequence[Step]) -> list[Delta]:
    return [delta for one in made if (delta := parser.feed(one)) is not None]


def read(renderer: Renderer, prompt: Prompt, text: str, sizes: Sequence[int], finish: str = "stop") -> list[Delta]:
    return feed(AnswerParser(renderer, prompt), steps(renderer, text, sizes, finish=finish))


def called(*calls: tuple[str, dict[str, Any]]) -> str:
    """As a Hermes model writes it."""
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'
        for name, arguments in calls
    )


def joined_calls(deltas: Sequence[Delta]) -> list[tuple[str, str]]:
    """Name and arguments of each call; asserts that indices rise by one and ids and names come once, first."""
    ids: list[str] = []
    calls: list[list[str]] = []
    for piece in (piece for delta in deltas for piece in delta.tool_calls):
        if piece.index == len(calls):
            assert piece.id
            assert piece.name
            ids.append(piece.id)
            calls.append([piece.name, piece.arguments])
        else:
            assert piece.index == len(calls) - 1
            assert (piece.id, piece.name) == (None, None)
            calls[-1][1] += piece.arguments
    assert len(set(ids)) == len(ids)
    return [(name, arguments) for name, arguments in calls]


def joined_text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def joined_thinking(deltas: Sequence[Delta]) -> str:
    return "".join(delta.thinking for delta in deltas)


# Text, thinking and calls, however the steps are cut


@for_each_cut
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), sizes=cuts)
def test_a_model_without_parsers_has_its_text_passed_on(
    plain_renderer: Renderer, plain_prompt: Prompt, text: str, sizes: list[int]
) -> None:
    deltas = read(plain_renderer, plain_prompt, text, sizes)
    assert joined_text(deltas) == text
    assert [delta.finish for delta in deltas if delta.finish] == [FinishReason.STOP]


@for_each_cut
@given(sizes=cuts)
def test_thinking_and_answer_are_told_apart(
    thinking_renderer: Renderer, thinking_prompt: Prompt, sizes: list[int]
) -> None:
    deltas = read(thinking_renderer, thinking_prompt, f"<think>{THOUGHT}</think>{ANSWER}", sizes)
    assert (joined_thinking(deltas), joined_text(deltas)) == (THOUGHT, ANSWER)
    assert not joined_calls(deltas)


@for_each_cut
@given(sizes=cuts)
def test_calls_come_whole_after_text(renderer: Renderer, prompt: Prompt, sizes: list[int]) -> None:
    deltas = read(renderer, prompt, ANSWER + called(*CALLS), sizes)
    assert joined_text(deltas).strip() == ANSWER
    assert [(name, json.loads(arguments)) for name, arguments in joined_calls(deltas)] == list(CALLS)
    assert deltas[-1].finish is FinishReason.TOOL_CALLS


@for_each_cut
@given(sizes=cuts)
def test_calls_come_whole_after_thinking(
    thinking_renderer: Renderer, thinking_prompt: Prompt, sizes: list[int]
) -> None:
    deltas = read(thinking_renderer, thinking_prompt, f"<think>{THOUGHT}</think>{called(*CALLS)}", sizes)
    assert joined_thinking(deltas) == THOUGHT
    assert [(name, json.loads(arguments)) for name, arguments in joined_calls(deltas)] == list(CALLS)
    assert deltas[-1].finish is FinishReason.TOOL_CALLS


@for_each_cut
@given(sizes=cuts)
def test_where_calls_must_not_be_parallel_only_the_first_is_passed_on(renderer: Renderer, sizes: list[int]) -> None:
    prompt = rendered(renderer, parallel_tool_calls=False)
    deltas = read(renderer, prompt, called(*CALLS), sizes)
    assert [(name, json.loads(arguments)) for name, arguments in joined_calls(deltas)] == [CALLS[0]]


@for_each_cut
@given(first=cuts, second=cuts)
def test_choices_are_read_apart(renderer: Renderer, prompt: Prompt, first: list[int], second: list[int]) -> None:
    parser = AnswerParser(renderer, prompt)
    streams = [
        steps(renderer, ANSWER, first, choice=0),
        steps(renderer, called(*CALLS), second, choice=1),
    ]
    mixed = [stream[place] for place in range(max(map(len, streams))) for stream in streams if place < len(stream)]
    deltas = feed(parser, mixed)
    told = [[delta for delta in deltas if delta.choice == choice] for choice in (0, 1)]
    assert (joined_text(told[0]), joined_calls(told[0])) == (ANSWER, [])
    assert [name for name, _ in joined_calls(told[1])] == [name for name, _ in CALLS]
    assert [told[0][-1].finish, told[1][-1].finish] == [FinishReason.STOP, FinishReason.TOOL_CALLS]


def rendered(renderer: Renderer, **fields: Any) -> Prompt:
    """Rendering, waited for: hypothesis calls its tests without a loop."""
    return asyncio.run(renderer.render(conversation(tools=(WEATHER, CLOCK), **fields)))


# Ends


def test_a_call_cut_off_by_the_limit_is_no_reason_to_call(renderer: Renderer, prompt: Prompt) -> None:
    deltas = read(renderer, prompt, called(*CALLS)[:40], [1] * 40, finish="length")
    assert [name for name, _ in joined_calls(deltas)] == ["weather"]
    assert deltas[-1].finish is FinishReason.LENGTH


@pytest.mark.parametrize("stop", ["END", 7, None])
def test_the_end_says_what_stopped_it_even_without_text(
    plain_renderer: Renderer, plain_prompt: Prompt, stop: str | int | None
) -> None:
    parser = AnswerParser(plain_renderer, plain_prompt)
    assert parser.feed(step(finish="stop", matched_stop=stop)) == Delta(0, finish=FinishReason.STOP, matched_stop=stop)


def test_a_step_that_shows_nothing_makes_no_delta(plain_renderer: Renderer, plain_prompt: Prompt) -> None:
    parser = AnswerParser(plain_renderer, plain_prompt)
    assert parser.feed(step("", [5])) is None
    assert parser.generated() == [5]


def test_a_marker_is_not_shown_in_pieces(renderer: Renderer, prompt: Prompt) -> None:
    parser = AnswerParser(renderer, prompt)
    assert parser.feed(step("<tool", [5])) is None
    assert parser.feed(step("_call>", [6])) is None


def test_what_looked_like_a_marker_and_was_none_is_shown(renderer: Renderer, prompt: Prompt) -> None:
    parser = AnswerParser(renderer, prompt)
    deltas = feed(parser, [step("<tool", [5]), step("box>", [6]), step(finish="stop")])
    assert joined_text(deltas) == "<toolbox>"


# Counts


def test_tokens_are_counted_over_all_choices(plain_renderer: Renderer, plain_prompt: Prompt) -> None:
    parser = AnswerParser(plain_renderer, plain_prompt)
    feed(parser, [step("a", [1]), step("b", [2, 3], choice=1), step("c", [4])])
    assert (parser.completion_tokens, parser.reasoning_tokens) == (4, 0)
    assert (parser.generated(), parser.generated(1), parser.generated(2)) == ([1, 4], [2, 3], [])


def test_a_delta_tells_its_tokens_and_those_of_what_was_held_back_before_it(renderer: Renderer, prompt: Prompt) -> None:
    made = [step("Hi", [4]), step("<tool", [5, 7]), step("box>", [6]), step("", [8], finish="stop")]
    deltas = feed(AnswerParser(renderer, prompt), made)
    assert [(delta.text, delta.tokens) for delta in deltas] == [("Hi", 1), ("<toolbox>", 3), ("", 1)]


def test_the_tokens_of_the_thought_are_counted_without_its_markers(
    thinking_renderer: Renderer, thinking_prompt: Prompt
) -> None:
    parser = AnswerParser(thinking_renderer, thinking_prompt)
    feed(parser, steps(thinking_renderer, f"<think>{THOUGHT}</think>{ANSWER}", [3, 4]))
    tokenizer = thinking_renderer._renderer.get_tokenizer()
    assert parser.reasoning_tokens == len(tokenizer.encode(THOUGHT, add_special_tokens=False))


# Log-probabilities


@pytest.fixture
async def scored(plain_renderer: Renderer) -> AnswerParser:
    return AnswerParser(plain_renderer, await plain_renderer.render(conversation(sampling=Sampling(logprobs=2))))


def test_a_token_has_the_most_likely_alternatives_first_and_no_more_than_asked_for(scored: AnswerParser) -> None:
    entries = {
        1: Logprob(-3.0, 3, "one"),
        2: Logprob(-0.1, 1, "two"),
        3: Logprob(-0.5, 2, "three"),
    }
    delta = scored.feed(step("one", [1], logprobs=[entries]))
    assert delta is not None
    (token,) = delta.logprobs
    assert (token.token, token.logprob, token.utf8) == ("one", -3.0, b"one")
    assert [(other.token, other.logprob, other.top) for other in token.top] == [("two", -0.1, ()), ("three", -0.5, ())]


@given(st.floats(max_value=0.0, allow_nan=False))
def test_no_logprob_is_less_than_the_wire_can_say(logprob: float) -> None:
    parser = AnswerParser.__new__(AnswerParser)
    assert parser._one(1, Logprob(logprob, 1, "x")).logprob == max(logprob, LEAST_LOGPROB)


def test_an_impossible_token_has_the_least_logprob(scored: AnswerParser) -> None:
    delta = scored.feed(step("x", [1], logprobs=[{1: Logprob(-math.inf, 1, "x")}]))
    assert delta is not None
    assert delta.logprobs[0].logprob == LEAST_LOGPROB
    json.dumps(delta.logprobs[0].logprob, allow_nan=False)


def test_a_token_that_came_without_text_is_decoded(scored: AnswerParser, plain_renderer: Renderer) -> None:
    token_id = plain_renderer._renderer.get_tokenizer().encode("Q", add_special_tokens=False)[0]
    delta = scored.feed(step("Q", [token_id], logprobs=[{token_id: Logprob(-1.0, 1, None)}]))
    assert delta is not None
    assert delta.logprobs[0].token == "Q"


def test_a_token_is_reported_even_where_no_text_is_shown(scored: AnswerParser) -> None:
    delta = scored.feed(step("", [1], logprobs=[{1: Logprob(-1.0, 1, "")}]))
    assert delta is not None
    assert (delta.text, len(delta.logprobs)) == ("", 1)
