"""Conversations that every protocol can tell, and each protocol's way of telling them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import strategies as st

from appliance.api.chat import ChatCodec
from appliance.api.chat import encode_request as encode_chat
from appliance.api.codec import Codec
from appliance.api.diagnostics import Diagnostics
from appliance.api.messages import MessagesCodec
from appliance.api.messages_encode import encode_request as encode_messages
from appliance.api.responses_encode import encode_request as encode_responses
from appliance.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
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
from tests.unit.api.messages_requests import SEAL
from tests.unit.api.responses_requests import new_codec
from tests.unit.api.scripted import ScriptedInference

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), words)
objects = st.dictionaries(words, values, max_size=3)
tool_names = st.sampled_from(["read", "write", "search"])
text_blocks = st.builds(Text, words)
images = st.builds(Image, st.sampled_from(["https://x/y.png", "data:image/png;base64,AAA="]))
documents = st.builds(Document, words, st.one_of(st.none(), words))
tools = st.lists(
    st.builds(Tool, tool_names, st.one_of(st.none(), words), objects, st.sampled_from([None, True, False])),
    max_size=3,
    unique_by=lambda tool: tool.name,
).map(tuple)

Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def turns(draw: Draw, number: int, shown: st.SearchStrategy[Any]) -> list[Message]:
    """A question and one or two answers to it; every call has its result before the next answer."""
    messages = [Message(Role.USER, tuple(draw(st.lists(shown, min_size=1, max_size=2))))]
    for step in range(draw(st.integers(1, 2))):
        thoughts = draw(st.lists(st.builds(Thinking, words), max_size=1))
        spoken = draw(st.lists(text_blocks, max_size=1))
        ids = [f"call_{number}_{step}_{call}" for call in range(draw(st.integers(0 if thoughts or spoken else 1, 2)))]
        arguments = objects.map(lambda value: json.dumps(value, ensure_ascii=False))
        calls = [ToolCall(each, draw(tool_names), draw(arguments)) for each in ids]
        messages.append(Message(Role.ASSISTANT, (*thoughts, *spoken, *calls)))
        results = [ToolResult(each, tuple(draw(st.lists(shown, max_size=2)))) for each in ids]
        messages += [Message(Role.TOOL, (result,)) for result in results]
        if not ids:
            break
    return messages


def marked(messages: tuple[Message, ...], places: dict[int, CacheMark]) -> tuple[Message, ...]:
    """A mark on the nth block; thoughts are never marked."""
    count = iter(range(10_000))

    def mark(block: Block) -> Block:
        found = None if isinstance(block, Thinking) else places.get(next(count))
        return block if found is None else replace(block, mark=found)

    return tuple(replace(message, blocks=tuple(map(mark, message.blocks))) for message in messages)


@st.composite
def conversations(draw: Draw, *, with_images: bool = True) -> Conversation:
    shown = st.one_of(text_blocks, documents, *([images] if with_images else []))
    messages = [Message(Role.SYSTEM, (draw(text_blocks),))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        messages += draw(turns(number, shown))
    messages.append(Message(Role.USER, (draw(text_blocks),)))
    offered = draw(tools)
    choices = [None, ToolChoice(ToolChoiceMode.AUTO), ToolChoice(ToolChoiceMode.NONE)]
    choices += [ToolChoice(ToolChoiceMode.NAMED, tool.name) for tool in offered]
    choice = draw(st.sampled_from(choices))
    places = sorted(draw(st.sets(st.integers(0, 9), max_size=4)))
    num_long = draw(st.integers(0, 4))
    marks = {place: CacheMark(3600.0 if number < num_long else 300.0) for number, place in enumerate(places)}
    schema = st.builds(OutputFormat, st.just(OutputKind.JSON_SCHEMA), objects, words)
    return Conversation(
        model="tiny",
        messages=marked(tuple(messages), marks),
        tools=offered,
        tool_choice=choice,
        parallel_tool_calls=choice is None or draw(st.booleans()),
        sampling=Sampling(
            max_tokens=draw(st.integers(1, 99)),
            temperature=draw(st.one_of(st.none(), st.floats(0, 1))),
            top_p=draw(st.one_of(st.none(), st.floats(0.1, 1))),
            top_k=draw(st.one_of(st.none(), st.integers(0, 99))),
        ),
        output_format=draw(st.one_of(st.just(OutputFormat()), schema)),
        reasoning=Reasoning(draw(st.sampled_from([None, True, False])), draw(st.sampled_from([None, "low", "max"]))),
        template_arguments=draw(st.one_of(st.none(), objects)),
        identity=Identity(draw(st.one_of(st.none(), words)), user=draw(st.one_of(st.none(), words))),
    )


async def told_by_each(conversation: Conversation) -> dict[str, Conversation]:
    """The conversation as it arrives through each protocol."""
    inference = ScriptedInference()
    messages = MessagesCodec(inference, seal=SEAL, diagnostics=Diagnostics(4))
    protocols: dict[str, tuple[Callable[[Conversation], Any], Codec]] = {
        "chat": (encode_chat, ChatCodec(diagnostics=Diagnostics(4))),
        "messages": (encode_messages, messages),
        "responses": (encode_responses, new_codec()),
    }
    return {
        name: (await codec.decode(msgspec.json.decode(msgspec.json.encode(encode(conversation))), {})).conversation
        for name, (encode, codec) in protocols.items()
    }


def common_part(conversation: Conversation) -> Conversation:
    """Without what only some protocols can say: who carries a tool's result, where one message of a role ends and the
    next begins, and the name of a schema."""
    blocks = [(_speaker(message, block), block) for message in conversation.messages for block in message.blocks]
    return replace(
        conversation,
        messages=tuple(Message(speaker, (block,)) for speaker, block in blocks),
        output_format=replace(conversation.output_format, name=None),
        reporting=Reporting(),
    )


def _speaker(message: Message, block: Block) -> Role:
    return Role.TOOL if isinstance(block, ToolResult) else message.role
