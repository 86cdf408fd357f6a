from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.exceptions import VLLMValidationError
from vllm.inputs import tokens_input
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from xgrammar import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, VocabType

from appliance.conversation import (
    Conversation,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    RawPrompt,
    Reasoning,
    Role,
    Sampling,
    Text,
    Thinking,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from appliance.engine.grammar import MAX_WHITESPACE_CHARACTERS, bounded_whitespace
from appliance.engine.limits import MAX_COUNTED_CHARACTERS, MAX_COUNTED_PARTS
from appliance.engine.prompt import Prompt
from appliance.engine.refusals import request_error
from appliance.engine.rendering import Renderer
from appliance.engine.wire import chat_request
from appliance.errors import ContextTooLong, InvalidRequest
from tests.unit.engine.conftest import NewRenderer
from tests.unit.engine.conversations import CLOCK, NAMED, REQUIRED, SCHEMA, WEATHER, assistant, conversation, user

# vLLM reads a field of its own request that it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

NOT_HELD_BY_XGRAMMAR = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}


def text_of(renderer: Renderer, prompt: Prompt) -> str:
    text: str = renderer._renderer.get_tokenizer().decode(prompt.token_ids)
    return text


def allows(prompt: Prompt, answer: str) -> bool:
    """Whether the grammar of a request allows exactly this answer."""
    tag = prompt.params.structured_outputs.structural_tag
    tokens = TokenizerInfo([chr(byte) for byte in range(128)], VocabType.RAW, stop_token_ids=[0])
    compiled = GrammarCompiler(tokens).compile_grammar(Grammar.from_structural_tag(tag))
    matcher = GrammarMatcher(compiled, terminate_without_stop_token=True)
    return bool(matcher.accept_string(answer)) and bool(matcher.is_terminated())


def call(arguments: str, name: str = "weather") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


# Prompts


async def test_a_prompt_is_the_rendered_history_and_an_open_answer(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(user("Hi"), assistant("Yes?"), user("Bye")))
    assert text_of(renderer, prompt) == (
        "<|im_start|>user\nHi<|end|>\n<|im_start|>assistant\nYes?<|end|>\n<|im_start|>user\nBye<|end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.engine_input["prompt_token_ids"] == prompt.token_ids


async def test_earlier_thoughts_are_rendered_where_the_template_shows_them(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(assistant(Thinking("Hm."), "Yes")))
    assert "<think>Hm.</think>Yes" in text_of(renderer, prompt)


async def test_a_salt_is_part_of_the_first_blocks_hash_and_of_the_engines_input(renderer: Renderer) -> None:
    salted = await renderer.render(conversation(cache_salt="pepper"))
    assert (salted.extra_keys, salted.engine_input["cache_salt"]) == ((("pepper",),), "pepper")
    assert (await renderer.render(conversation())).extra_keys == ()


async def test_the_answer_may_fill_the_rest_of_the_context_and_no_more(renderer: Renderer) -> None:
    open_end = await renderer.render(conversation())
    room = renderer.context_tokens - len(open_end.token_ids)
    assert open_end.params.max_tokens == room
    wanted = conversation(sampling=Sampling(max_tokens=renderer.context_tokens))
    assert (await renderer.render(wanted)).params.max_tokens == room
    assert (await renderer.render(conversation(sampling=Sampling(max_tokens=7)))).params.max_tokens == 7


# Forced and strict calls


CHOICES = (None, ToolChoice(ToolChoiceMode.AUTO), REQUIRED, NAMED)


@pytest.mark.parametrize("strict", [None, False, True])
@pytest.mark.parametrize("choice", CHOICES)
async def test_a_forced_or_strict_call_is_asked_for_in_the_same_prompt_as_a_free_one(
    renderer: Renderer, choice: ToolChoice | None, strict: bool | None
) -> None:
    free = await renderer.render(conversation(tools=(WEATHER, CLOCK)))
    tools = (replace(WEATHER, strict=strict), CLOCK)
    assert (await renderer.render(conversation(tools=tools, tool_choice=choice))).token_ids == free.token_ids
    assert "strict" not in text_of(renderer, free)


@pytest.mark.parametrize("choice", [REQUIRED, NAMED])
async def test_a_forced_call_is_held_to_the_tools_schema(renderer: Renderer, choice: ToolChoice) -> None:
    prompt = await renderer.render(conversation(tools=(WEATHER, CLOCK), tool_choice=choice))
    assert allows(prompt, call('{"city": "Oslo", "days": 3}'))
    assert allows(prompt, call('{"city": "Oslo"}'))
    assert not allows(prompt, call('{"days": 3}'))
    assert not allows(prompt, call('{"city": 3}'))
    assert not allows(prompt, call('{"city": "Oslo", "mood": "good"}'))
    assert not allows(prompt, call("{}", name="tides"))
    assert not allows(prompt, "Sunny.")


async def test_a_named_call_is_the_only_one_allowed(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(tools=(WEATHER, CLOCK), tool_choice=NAMED))
    assert not allows(prompt, call("{}", name="clock"))
    required = await renderer.render(conversation(tools=(WEATHER, CLOCK), tool_choice=REQUIRED))
    assert allows(required, call("{}", name="clock"))


@pytest.mark.parametrize("choice", [REQUIRED, NAMED])
@pytest.mark.parametrize(
    "tool_parser",
    [
        "deepseek_v32",
        "glm47",
        "granite",
        "kimi_k2",
        "kimi_k3",
        "llama4_pythonic",
        "minimax_m2",
        "openai",
        "qwen3_coder",
    ],
)
async def test_other_models_forced_calls_are_held_to_the_schema_in_their_own_form(
    new_renderer: NewRenderer, tool_parser: str, choice: ToolChoice
) -> None:
    renderer = new_renderer(tool_parser=tool_parser, reasoning_parser="none")
    prompt = await renderer.render(conversation(tools=(WEATHER, CLOCK), tool_choice=choice))
    assert "days" in prompt.params.structured_outputs.structural_tag
    assert prompt.token_ids == (await renderer.render(conversation(tools=(WEATHER, CLOCK)))).token_ids


async def test_a_grammar_has_its_back_end_before_any_engine_sees_it(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(tools=(WEATHER,), tool_choice=NAMED))
    assert prompt.params.structured_outputs._backend == "xgrammar"


async def test_a_client_can_have_a_forced_call_without_the_schema(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(tools=(replace(WEATHER, strict=False),), tool_choice=NAMED))
    assert allows(prompt, call('{"mood": 3}'))
    assert not allows(prompt, "Sunny.")


async def test_a_strict_tool_that_may_be_called_is_held_to_its_schema_alone(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(tools=(replace(WEATHER, strict=True), CLOCK)))
    (format_,) = [json.loads(prompt.params.structured_outputs.structural_tag)["format"]]
    assert (format_["type"], format_["triggers"], format_["at_least_one"]) == ("triggered_tags", ["<tool_call>"], False)
    schemas = {tag["begin"].split('"')[3]: tag["content"]["json_schema"] for tag in format_["tags"]}
    assert schemas == {"weather": SCHEMA, "clock": True}


async def test_a_free_call_has_no_grammar(renderer: Renderer) -> None:
    assert (await renderer.render(conversation(tools=(WEATHER,)))).params.structured_outputs is None


# Formats


async def test_an_answer_is_held_to_its_schema(renderer: Renderer) -> None:
    wanted = OutputFormat(OutputKind.JSON_SCHEMA, schema=SCHEMA)
    prompt = await renderer.render(conversation(output_format=wanted))
    assert allows(prompt, '{"city": "Oslo", "days": 3}')
    assert allows(prompt, '{"city":"Oslo"}')
    assert not allows(prompt, '{"days": 3}')


async def test_an_answer_may_be_any_object(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(output_format=OutputFormat(OutputKind.JSON_OBJECT)))
    assert allows(prompt, '{"a": [1, {"b": null}]}')
    assert not allows(prompt, "[1]")


@pytest.mark.parametrize("wanted", [OutputKind.JSON_OBJECT, OutputKind.JSON_SCHEMA])
async def test_blanks_in_json_come_to_an_end(renderer: Renderer, wanted: OutputKind) -> None:
    schema = SCHEMA if wanted is OutputKind.JSON_SCHEMA else None
    prompt = await renderer.render(conversation(output_format=OutputFormat(wanted, schema=schema)))
    most = "\n" + " " * (MAX_WHITESPACE_CHARACTERS - 1)
    assert allows(prompt, f'{{{most}"city"{most}:{most}"Oslo"{most}}}')
    assert not allows(prompt, f'{{{most} "city": "Oslo"}}')


async def test_blanks_in_a_calls_arguments_come_to_an_end_but_those_in_its_strings_need_not(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(tools=(WEATHER,), tool_choice=NAMED))
    beyond = " " * (MAX_WHITESPACE_CHARACTERS + 1)
    assert allows(prompt, call(f'{{"city": "{beyond}"}}'))
    assert not allows(prompt, call(f'{{{beyond}"city": "Oslo"}}'))


def test_a_schema_that_xgrammar_cannot_hold_is_left_to_the_other_back_ends() -> None:
    grammar = StructuredOutputsParams(json=NOT_HELD_BY_XGRAMMAR)
    assert bounded_whitespace(grammar) is grammar


@pytest.mark.parametrize("kind", [{"regex": "a+"}, {"choice": ["a", "b"]}, {"grammar": 'root ::= "a"'}])
def test_what_is_no_json_is_left_as_it_is(kind: dict[str, Any]) -> None:
    grammar = StructuredOutputsParams(**kind)
    before = replace(grammar)
    assert bounded_whitespace(grammar) is grammar
    assert grammar == before


def test_no_grammar_stays_none() -> None:
    assert bounded_whitespace(None) is None


def test_a_bound_that_is_there_is_kept_and_formats_other_than_json_have_none() -> None:
    formats: list[dict[str, Any]] = [
        {"type": "json_schema", "json_schema": SCHEMA, "max_whitespace_cnt": 2},
        {"type": "json_schema", "json_schema": SCHEMA, "style": "qwen_xml"},
        {"type": "json_schema", "json_schema": {"type": "json_schema", "properties": {}}},
    ]
    tag = {"type": "structural_tag", "format": {"type": "sequence", "elements": formats}}
    bounded = bounded_whitespace(StructuredOutputsParams(structural_tag=json.dumps(tag)))
    assert bounded is not None
    elements = json.loads(bounded.structural_tag)["format"]["elements"]
    assert [element.get("max_whitespace_cnt") for element in elements] == [2, None, MAX_WHITESPACE_CHARACTERS]
    assert elements[2]["json_schema"] == formats[2]["json_schema"]


# Resuming


async def test_the_rest_of_a_request_has_what_was_generated_in_its_prompt(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation(sampling=Sampling(max_tokens=10, min_tokens=3), cache_salt="pepper"))
    rest = prompt.resumed([7, 8])
    assert rest.token_ids == [*prompt.token_ids, 7, 8]
    assert rest.engine_input == {"type": "token", "prompt_token_ids": rest.token_ids, "cache_salt": "pepper"}
    assert (rest.params.max_tokens, rest.params.min_tokens) == (8, 1)
    assert (prompt.params.max_tokens, prompt.params.min_tokens) == (10, 3)
    assert (rest.extra_keys, rest.request) == (prompt.extra_keys, prompt.request)


@given(first=st.integers(0, 6), second=st.integers(0, 3))
def test_resuming_twice_is_resuming_once_with_all_of_it(first: int, second: int) -> None:
    prompt = bare_prompt(max_tokens=10, min_tokens=5)
    once = prompt.resumed([1] * first + [2] * second)
    twice = prompt.resumed([1] * first).resumed([2] * second)
    assert (once.token_ids, once.engine_input) == (twice.token_ids, twice.engine_input)
    assert (once.params.max_tokens, once.params.min_tokens) == (twice.params.max_tokens, twice.params.min_tokens)
    assert once.params.min_tokens == max(0, 5 - first - second)


def bare_prompt(**limits: Any) -> Prompt:
    return Prompt([4, 5], tokens_input([4, 5]), chat_request(conversation()), SamplingParams(**limits), {}, ())


async def test_one_free_answer_from_tokens_is_resumable(renderer: Renderer) -> None:
    assert (await renderer.render(conversation(tools=(WEATHER,)))).resumable


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": Sampling(n=2, temperature=1.0)},
        {"output_format": OutputFormat(OutputKind.JSON_OBJECT)},
        {"tools": (WEATHER,), "tool_choice": REQUIRED},
    ],
)
async def test_several_answers_and_grammars_are_not_resumable(renderer: Renderer, fields: dict[str, Any]) -> None:
    assert not (await renderer.render(conversation(**fields))).resumable


async def test_a_prompt_with_more_than_tokens_is_not_resumable(renderer: Renderer) -> None:
    prompt = await renderer.render(conversation())
    assert not replace(prompt, engine_input={**prompt.engine_input, "type": "multimodal"}).resumable


# Text that the engine keeps back


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30), share=st.floats(0, 1))
def test_what_was_not_shown_yet_is_told(renderer: Renderer, text: str, share: float) -> None:
    generated = renderer._renderer.get_tokenizer().encode(text, add_special_tokens=False)
    shown = text[: int(len(text) * share)]
    assert shown + renderer.held_back(bare_prompt(), generated, shown) == text


def test_nothing_is_told_that_might_be_shown_twice(renderer: Renderer) -> None:
    generated = renderer._renderer.get_tokenizer().encode("rain", add_special_tokens=False)
    assert renderer.held_back(bare_prompt(), generated, "snow") == ""


@pytest.mark.parametrize(("skip", "told"), [(True, "rain"), (False, "rain<|end|>")])
def test_special_tokens_are_told_where_the_request_shows_them(renderer: Renderer, skip: bool, told: str) -> None:
    generated = renderer._renderer.get_tokenizer().encode("rain<|end|>", add_special_tokens=False)
    assert renderer.held_back(bare_prompt(skip_special_tokens=skip), generated, "") == told


# Parsers


async def test_a_model_without_tools_and_thinking_has_no_parser(renderer: Renderer, plain_renderer: Renderer) -> None:
    assert plain_renderer.parser(await plain_renderer.render(conversation())) is None
    prompt = await renderer.render(conversation())
    assert renderer.parser(prompt) is not renderer.parser(prompt)


# Errors


@pytest.mark.parametrize("contexts", [1, 10])
async def test_a_prompt_that_leaves_no_room_is_too_long(renderer: Renderer, contexts: int) -> None:
    with pytest.raises(ContextTooLong) as refused:
        await renderer.render(conversation(user("x" * contexts * renderer.context_tokens)))
    assert (refused.value.param, refused.value.code) == ("messages", "context_length_exceeded")
    assert str(renderer.context_tokens) in str(refused.value)


async def test_a_prompt_that_leaves_room_for_one_token_is_answered(renderer: Renderer) -> None:
    around = len((await renderer.render(conversation(user("")))).token_ids)
    fits = await renderer.render(conversation(user("x" * (renderer.context_tokens - around - 1))))
    assert (len(fits.token_ids), fits.params.max_tokens) == (renderer.context_tokens - 1, 1)
    with pytest.raises(ContextTooLong):
        await renderer.render(conversation(user("x" * (renderer.context_tokens - around))))


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (CLOCK,), "tool_choice": NAMED},
        {"sampling": Sampling(temperature=-1.0)},
        {"sampling": Sampling(top_p=2.0)},
        {"sampling": Sampling(logit_bias={"x": 1.0})},
    ],
)
async def test_what_vllm_refuses_is_the_clients_mistake_told_in_one_line(
    renderer: Renderer, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await renderer.render(conversation(**fields))
    assert str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "parameter", "told"),
    [
        ({"reasoning": Reasoning(effort="enormous")}, "reasoning_effort", "'minimal', 'low'"),
        ({"sampling": Sampling(seed=2**70)}, "seed", "less than or equal"),
        ({"sampling": Sampling(top_p=2.0)}, "top_p", "got 2.0"),
        ({"tools": (CLOCK,), "tool_choice": NAMED}, "tool_choice", "does not match"),
    ],
)
async def test_a_refusal_names_the_field_and_what_it_may_be(
    renderer: Renderer, fields: dict[str, Any], parameter: str, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        await renderer.render(conversation(**fields))
    assert refused.value.param == parameter
    assert "parameter=" not in str(refused.value)


async def test_tools_are_refused_where_the_model_has_none(plain_renderer: Renderer) -> None:
    with pytest.raises(InvalidRequest, match="tool"):
        await plain_renderer.render(conversation(tools=(WEATHER,), tool_choice=REQUIRED))


@pytest.mark.parametrize("parameter", ["input_tokens", "input_text"])
def test_an_input_that_vllm_calls_too_long_is_too_long(parameter: str) -> None:
    error = request_error(VLLMValidationError("too long", parameter=parameter, value=9))
    assert isinstance(error, ContextTooLong)
    assert (error.message, error.param) == ("too long", "messages")


def test_any_other_mistake_keeps_its_parameter_and_plain_message() -> None:
    error = request_error(VLLMValidationError("no such tool", parameter="tool_choice", value="x"))
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.param) == ("no such tool", "tool_choice")


async def test_counting_is_rendering_without_a_limit(renderer: Renderer) -> None:
    request = conversation(user("Hi"), tools=(WEATHER,))
    assert await renderer.count(request) == len((await renderer.render(request)).token_ids)
    around = await renderer.count(conversation(user("")))
    long = 3 * renderer.context_tokens
    assert await renderer.count(conversation(user("x" * long))) == around + long


async def test_of_a_text_without_end_no_tokens_are_made(renderer: Renderer) -> None:
    endless = "x" * (MAX_COUNTED_CHARACTERS + 1)
    raw = Conversation("tiny", (), raw=RawPrompt(text=endless))
    for work in (renderer.count(conversation(user(endless))), renderer.count(raw), renderer.render(raw)):
        with pytest.raises(ContextTooLong, match=str(MAX_COUNTED_CHARACTERS)):
            await work


async def test_more_messages_than_tokens_are_refused_unrendered(renderer: Renderer) -> None:
    many = [user("x")] * (renderer.context_tokens + 1)
    with pytest.raises(ContextTooLong, match=f"no more than {renderer.context_tokens}"):
        await renderer.render(conversation(*many))
    assert await renderer.count(conversation(*many)) > len(many)
    with pytest.raises(ContextTooLong, match=f"no more than {MAX_COUNTED_PARTS}"):
        await renderer.count(conversation(*many * (MAX_COUNTED_PARTS // len(many) + 1)))


async def test_a_raw_prompt_is_its_own_tokens(renderer: Renderer) -> None:
    encode = renderer._renderer.get_tokenizer().encode
    by_text = await renderer.render(Conversation("tiny", (), raw=RawPrompt(text="Once")))
    by_tokens = await renderer.render(Conversation("tiny", (), raw=RawPrompt(token_ids=tuple(encode("Once")))))
    assert by_text.token_ids == by_tokens.token_ids == encode("Once")
    assert await renderer.count(Conversation("tiny", (), raw=RawPrompt(text="Once"))) == 4
    assert renderer.parser(by_text) is None


async def test_a_token_that_the_model_does_not_have_is_refused(renderer: Renderer) -> None:
    with pytest.raises(InvalidRequest, match="token 99999 is not one of this model's"):
        await renderer.render(Conversation("tiny", (), raw=RawPrompt(token_ids=(1, 99999))))


async def test_a_model_that_cannot_see_says_so(renderer: Renderer) -> None:
    picture = Image("data:image/png;base64,AAAA")
    result = Message(Role.TOOL, (ToolResult("1", (picture,)),))
    for asked in (conversation(user(picture)), conversation(user("Hi"), result)):
        with pytest.raises(InvalidRequest, match="tiny cannot see"):
            await renderer.render(asked)
        with pytest.raises(InvalidRequest, match="tiny cannot see"):
            await renderer.count(asked)


async def test_an_answer_that_was_begun_goes_on_where_it_stands(renderer: Renderer) -> None:
    begun = conversation(user("Hi"), assistant("Well, "), continue_final=True)
    prompt = await renderer.render(begun)
    assert text_of(renderer, prompt).endswith("assistant\nWell, ")
    assert renderer.parser(prompt) is None


async def test_thinking_is_switched_by_the_names_that_templates_know(renderer: Renderer) -> None:
    off = await renderer.render(conversation(reasoning=Reasoning(enabled=False)))
    assert (off.template_arguments["enable_thinking"], off.template_arguments["thinking"]) == (False, False)
    own = conversation(reasoning=Reasoning(enabled=False), template_arguments={"enable_thinking": True})
    assert (await renderer.render(own)).template_arguments["enable_thinking"] is True


async def test_a_template_that_knows_one_system_message_gets_the_others_from_the_user(
    strict_renderer: Renderer,
) -> None:
    system, late = (Message(Role.SYSTEM, (Text(text),)) for text in ("You help.", "Be brief."))
    prompt = await strict_renderer.render(conversation(system, user("Hi"), assistant("Yes?"), late))
    assert text_of(strict_renderer, prompt).endswith("<|im_start|>user\nBe brief.<|end|>\n<|im_start|>assistant\n")


def test_whether_a_template_keeps_thoughts_is_found_by_asking_it(
    renderer: Renderer, forgetful_renderer: Renderer
) -> None:
    assert renderer.keeps_thinking() is True
    assert forgetful_renderer.keeps_thinking() is False
