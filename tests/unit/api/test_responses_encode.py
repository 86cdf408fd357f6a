from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.custom_tools import custom_arguments, custom_tool
from appliance.api.fields import Fields
from appliance.api.responses_encode import encode_request
from appliance.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
    Hints,
    Identity,
    Image,
    Message,
    OutputFormat,
    OutputKind,
    Reasoning,
    Reporting,
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
from tests.unit.api.responses_requests import new_codec

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
marks = st.sampled_from([None, CacheMark(300.0), CacheMark(3600.0), CacheMark(1800.0), CacheMark(43200.0)])
objects = st.dictionaries(texts, st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts), max_size=3)
tool_names = st.sampled_from(["read", "patch", "search"])
text_blocks = st.builds(Text, texts, marks)
urls = st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="])
images = st.builds(Image, urls, st.sampled_from([None, "auto", "low", "high"]), marks)
documents = st.builds(Document, texts, st.one_of(st.none(), words), mark=marks)
parts = st.lists(st.one_of(text_blocks, images, documents), max_size=3).map(tuple)
arguments = st.one_of(texts, texts.map(custom_arguments))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def answer(thoughts: list[Thinking], spoken: list[Text], calls: list[ToolCall]) -> tuple[Block, ...]:
    return (*thoughts, *spoken, *calls)


asked = st.builds(Message, st.sampled_from([Role.SYSTEM, Role.DEVELOPER, Role.USER]), parts)
thoughts = st.one_of(st.builds(Thinking, words), st.builds(Thinking, st.just(""), sealed=words))
calls = st.builds(ToolCall, words, tool_names, arguments, marks)
answers = st.builds(
    Message,
    st.just(Role.ASSISTANT),
    st.builds(answer, st.lists(thoughts, max_size=2), st.lists(text_blocks, max_size=2), st.lists(calls, max_size=2)),
)


@st.composite
def histories(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[Message, ...]:
    """After every message there may be results of the calls made so far; between two answers somebody speaks."""
    messages: list[Message] = []
    call_ids: list[str] = []
    for message in draw(st.lists(st.one_of(asked, answers), min_size=1, max_size=5)):
        if messages and messages[-1].role is message.role is Role.ASSISTANT:
            messages.append(Message(Role.USER, (Text("and?"),)))
        messages.append(message)
        call_ids += [block.id for block in message.blocks if isinstance(block, ToolCall)]
        answered = draw(st.lists(st.sampled_from(call_ids), max_size=2)) if call_ids else []
        results = [ToolResult(call_id, draw(parts), mark=draw(marks)) for call_id in answered]
        messages += [Message(Role.TOOL, (result,)) for result in results]
    return tuple(messages)


tools = st.one_of(
    st.builds(Tool, tool_names, maybe(texts), maybe(objects), st.sampled_from([None, True, False]), marks),
    st.builds(custom_tool, tool_names, maybe(texts), marks),
)
tool_lists = st.lists(tools, max_size=3, unique_by=lambda tool: tool.name).map(tuple)
output_formats = st.one_of(
    st.builds(OutputFormat, st.sampled_from([OutputKind.TEXT, OutputKind.JSON_OBJECT])),
    st.builds(OutputFormat, st.just(OutputKind.JSON_SCHEMA), objects, words, st.sampled_from([None, True, False])),
)
samplings = st.builds(
    Sampling,
    max_tokens=maybe(st.integers(1, 2**40)),
    temperature=maybe(st.floats(0, 2)),
    top_p=maybe(st.floats(0, 1, exclude_min=True)),
    top_k=maybe(st.integers(-1, 99)),
    min_p=maybe(st.floats(0, 1)),
    frequency_penalty=maybe(st.floats(-2, 2)),
    presence_penalty=maybe(st.floats(-2, 2)),
    repetition_penalty=maybe(st.floats(0, 9, exclude_min=True)),
    seed=maybe(st.integers(-(2**63), 2**63 - 1)),
    logprobs=maybe(st.integers(0, 20)),
)


@st.composite
def conversations(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Conversation:
    tools = draw(tool_lists)
    modes = ["none", "auto", *(["required"] if tools else [])]
    choices: list[ToolChoice | None] = [None, *(ToolChoice(ToolChoiceMode(mode)) for mode in modes)]
    choices += [ToolChoice(ToolChoiceMode.NAMED, tool.name) for tool in tools]
    compared = draw(maybe(words))
    return Conversation(
        model=draw(words),
        messages=draw(histories()),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        parallel_tool_calls=draw(st.booleans()),
        sampling=draw(samplings),
        output_format=draw(output_formats),
        reasoning=Reasoning(
            draw(st.sampled_from([None, True, False])),
            draw(st.sampled_from([None, "none", "low", "max"])),
            draw(maybe(st.integers(0, 999))),
        ),
        template_arguments=draw(maybe(objects)),
        cache_salt=draw(maybe(words)),
        identity=Identity(session_id=draw(maybe(words)), user=draw(maybe(words))),
        hints=Hints(draw(st.integers(-(2**31) + 1, 2**31 - 1))),
        reporting=Reporting(diagnose=compared is not None, compare_with=compared),
    )


@given(conversations())
async def test_what_is_encoded_decodes_to_the_same_conversation(conversation: Conversation) -> None:
    wire = msgspec.json.decode(msgspec.json.encode(encode_request(conversation)))
    read = await new_codec().read(Fields(wire), {})
    told = replace(read.conversation.reporting, ignored=())
    assert replace(read.conversation, reporting=told) == conversation
