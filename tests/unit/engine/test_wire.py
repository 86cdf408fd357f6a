from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind

from appliance.conversation import (
    Conversation,
    Document,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from appliance.engine.wire import as_user, chat_request
from tests.unit.engine.conversations import CLOCK, NAMED, REQUIRED, WEATHER, assistant, conversation, message, user


def wire_messages(*messages: Any) -> list[dict[str, Any]]:
    wired: list[dict[str, Any]] = chat_request(conversation(*messages)).messages
    return wired


def wire_arguments(arguments: str) -> str:
    (wired,) = wire_messages(assistant(ToolCall("c1", "weather", arguments)))
    passed: str = wired["tool_calls"][0]["function"]["arguments"]
    return passed


# Messages


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.DEVELOPER, Role.USER])
def test_texts_of_a_message_are_one_string(role: Role) -> None:
    told = "user" if role is Role.USER else "system"
    assert wire_messages(message(role, "Good ", "day")) == [{"role": told, "content": "Good day"}]


def test_a_message_without_blocks_is_empty_text() -> None:
    assert wire_messages(assistant()) == [{"role": "assistant", "content": ""}]


def test_a_participants_name_is_kept() -> None:
    assert wire_messages(Message(Role.USER, (Text("Hi"),), name="ann")) == [
        {"role": "user", "content": "Hi", "name": "ann"}
    ]


def test_a_picture_makes_a_list_of_parts_in_order() -> None:
    (wired,) = wire_messages(user("See", Image("data:image/png;base64,AA=="), Image("http://x/y", detail="low")))
    assert wired["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "http://x/y", "detail": "low"}},
    ]


def test_thoughts_stand_beside_the_answer_and_only_in_the_assistants_messages() -> None:
    thought, answered = Thinking("2+2 "), assistant(Thinking("2+2 "), Thinking("is 4"), "4")
    assert wire_messages(answered) == [{"role": "assistant", "content": "4", "reasoning": "2+2 is 4"}]
    assert wire_messages(user(thought, "4")) == [{"role": "user", "content": "4"}]


def test_calls_stand_beside_the_text_in_order() -> None:
    (wired,) = wire_messages(
        assistant("So.", ToolCall("c1", "weather", '{"city":"Oslo"}'), ToolCall("c2", "clock", ""))
    )
    assert wired["content"] == "So."
    assert wired["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
        {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
    ]


def test_each_tool_result_is_a_message_of_its_own_before_what_was_said_beside_it() -> None:
    results = ToolResult("c1", (Text("rain"), Text(" soon"))), ToolResult("c2", (Image("http://x/y"),))
    assert wire_messages(user(*results, "And tomorrow?")) == [
        {"role": "tool", "tool_call_id": "c1", "content": "rain soon"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}],
        },
        {"role": "user", "content": "And tomorrow?"},
    ]


def test_a_message_of_results_alone_adds_no_empty_message() -> None:
    assert [wired["role"] for wired in wire_messages(message(Role.TOOL, ToolResult("c1", (Text("rain"),))))] == ["tool"]


# Arguments of earlier calls


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_an_object_is_passed_exactly_as_the_model_wrote_it(arguments: dict[str, Any]) -> None:
    written = json.dumps(arguments, indent=1)
    assert wire_arguments(written) == written


@given(st.text())
def test_whatever_a_model_wrote_reaches_the_template_as_an_object(written: str) -> None:
    assert isinstance(json.loads(wire_arguments(written)), dict)


def test_bad_arguments_are_kept_readable() -> None:
    assert json.loads(wire_arguments('{"city": "Osl')) == {"_unparsed": '{"city": "Osl'}
    assert json.loads(wire_arguments("[1, 2]")) == {"_value": [1, 2]}


# Tools


def test_a_tool_carries_what_the_client_said_of_it() -> None:
    request = chat_request(conversation(tools=(WEATHER, CLOCK)))
    assert [tool.model_dump() for tool in request.tools] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": WEATHER.description, "parameters": WEATHER.parameters},
        },
        {"type": "function", "function": {"name": "clock", "description": None, "parameters": None}},
    ]


@pytest.mark.parametrize(
    ("choice", "wired"),
    [
        (None, "auto"),
        (ToolChoice(ToolChoiceMode.AUTO), "auto"),
        (ToolChoice(ToolChoiceMode.NONE), "none"),
        (REQUIRED, "required"),
    ],
)
def test_a_choice_of_tools_is_passed_on(choice: ToolChoice | None, wired: str) -> None:
    assert chat_request(conversation(tools=(WEATHER,), tool_choice=choice)).tool_choice == wired


def test_a_named_choice_names_its_tool() -> None:
    request = chat_request(conversation(tools=(WEATHER,), tool_choice=NAMED))
    assert request.tool_choice.model_dump() == {"type": "function", "function": {"name": "weather"}}


def test_without_tools_nothing_can_be_chosen() -> None:
    request = chat_request(conversation(tool_choice=ToolChoice(ToolChoiceMode.AUTO)))
    assert (request.tools, request.tool_choice) == (None, "none")


@pytest.mark.parametrize("choice", [None, ToolChoice(ToolChoiceMode.AUTO), ToolChoice(ToolChoiceMode.NONE)])
@pytest.mark.parametrize("strict", [None, False, True])
def test_strictness_is_the_clients_where_no_call_is_forced(choice: ToolChoice | None, strict: bool | None) -> None:
    tools = (Tool("weather", parameters=WEATHER.parameters, strict=strict),)
    assert chat_request(conversation(tools=tools, tool_choice=choice)).tools[0].function.strict is strict


@pytest.mark.parametrize("choice", [REQUIRED, NAMED])
@pytest.mark.parametrize(("strict", "held"), [(None, True), (True, True), (False, False)])
def test_a_forced_call_is_strict_unless_the_client_says_no(choice: ToolChoice, strict: bool | None, held: bool) -> None:
    tools = (Tool("weather", parameters=WEATHER.parameters, strict=strict),)
    assert chat_request(conversation(tools=tools, tool_choice=choice)).tools[0].function.strict is held


def test_naming_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises((VLLMClientError, ValueError)):
        chat_request(conversation(tools=(CLOCK,), tool_choice=NAMED))


# The answer's form


def test_text_has_no_format_and_an_object_any() -> None:
    assert chat_request(conversation()).response_format is None
    request = chat_request(conversation(output_format=OutputFormat(OutputKind.JSON_OBJECT)))
    assert request.response_format.type == "json_object"


@pytest.mark.parametrize("strict", [None, True, False])
def test_a_schema_keeps_its_name_and_strictness(strict: bool | None) -> None:
    wanted = OutputFormat(OutputKind.JSON_SCHEMA, schema=WEATHER.parameters, name="day", strict=strict)
    wired = chat_request(conversation(output_format=wanted)).response_format
    assert wired.type == "json_schema"
    assert (wired.json_schema.name, wired.json_schema.json_schema, wired.json_schema.strict) == (
        "day",
        WEATHER.parameters,
        strict,
    )


def test_a_schema_without_a_name_is_called_answer() -> None:
    wanted = OutputFormat(OutputKind.JSON_SCHEMA, schema={"type": "object"})
    assert chat_request(conversation(output_format=wanted)).response_format.json_schema.name == "answer"


# Sampling


def test_what_the_client_left_open_is_left_to_the_model() -> None:
    params = chat_request(conversation()).to_sampling_params(9, {"temperature": 0.3, "top_k": 20})
    assert (params.temperature, params.top_k, params.top_p, params.max_tokens) == (0.3, 20, 1.0, 9)


def test_every_wish_of_sampling_arrives() -> None:
    wishes = Sampling(
        min_tokens=2,
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        min_p=0.1,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        repetition_penalty=1.1,
        seed=7,
        stop=("a", "b"),
        stop_token_ids=(3,),
        ignore_eos=True,
        logprobs=4,
        logit_bias={"5": 1.5},
        n=3,
    )
    params = chat_request(conversation(sampling=wishes)).to_sampling_params(9, {"temperature": 1.0})
    arrived = {name: getattr(params, name) for name in Sampling.__slots__ if name not in ("max_tokens", "logit_bias")}
    assert arrived == {name: getattr(wishes, name) for name in arrived} | {"stop": ["a", "b"], "stop_token_ids": [3]}
    assert params.logit_bias == {5: 1.5}


def test_zero_alternatives_still_ask_for_the_token_itself() -> None:
    assert chat_request(conversation(sampling=Sampling(logprobs=0))).to_sampling_params(9, {}).logprobs == 0
    assert chat_request(conversation()).to_sampling_params(9, {}).logprobs is None


def test_steps_come_as_deltas() -> None:
    assert chat_request(conversation()).to_sampling_params(9, {}).output_kind is RequestOutputKind.DELTA


def test_what_only_the_template_and_the_cache_see_is_passed_on() -> None:
    request = chat_request(
        conversation(
            reasoning=Reasoning(effort="low"),
            template_arguments={"enable_thinking": False},
            cache_salt="pepper",
            parallel_tool_calls=False,
        )
    )
    assert (request.reasoning_effort, request.chat_template_kwargs) == ("low", {"enable_thinking": False})
    assert (request.cache_salt, request.parallel_tool_calls) == ("pepper", False)


def test_a_value_that_vllm_refuses_is_refused_before_anything_is_rendered() -> None:
    with pytest.raises((VLLMClientError, ValueError)):
        chat_request(conversation(reasoning=Reasoning(effort="enormous")))


def test_a_document_is_a_text_with_its_name() -> None:
    document = Document("It rains.", title='"A" & B', source="x.txt", context="weather")
    attributes = """title='"A" &amp; B' source="x.txt" context="weather\""""
    expected = f"<document {attributes}>\nIt rains.\n</document>\n"
    assert wire_messages(message(Role.USER, document, "Well?")) == [{"role": "user", "content": expected + "Well?"}]


def test_a_thought_that_nobody_can_open_is_not_shown_to_the_model() -> None:
    sealed = Thinking("", sealed="xyz")
    assert wire_messages(message(Role.ASSISTANT, sealed, "Yes")) == [{"role": "assistant", "content": "Yes"}]


@pytest.mark.parametrize(("is_error", "told"), [(True, "The tool failed."), (False, "")])
def test_a_tool_that_failed_without_a_word_has_failed(is_error: bool, told: str) -> None:
    result = ToolResult("1", (), is_error=is_error)
    assert wire_messages(message(Role.TOOL, result)) == [{"role": "tool", "tool_call_id": "1", "content": told}]


def test_late_system_messages_are_told_by_the_user_and_the_first_stays() -> None:
    first, late = message(Role.SYSTEM, "a"), message(Role.DEVELOPER, "b")
    told = as_user(Conversation("m", (first, message(Role.USER, "c"), late)))
    assert [entry.role for entry in told.messages] == [Role.SYSTEM, Role.USER, Role.USER]
    alone = Conversation("m", (first,))
    assert as_user(alone) is alone
