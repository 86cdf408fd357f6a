from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.messages import decode_conversation
from appliance.api.messages_encode import encode_request
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

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
values = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts)
objects = st.dictionaries(texts, st.one_of(values, st.lists(values, max_size=2)), max_size=3)
text_blocks = st.builds(Text, texts)
images = st.builds(Image, st.sampled_from(["https://x/y.png", "data:image/png;base64,AAA="]))
files = st.builds(Document, texts, st.one_of(st.none(), words), st.one_of(st.none(), words))
findings = st.builds(Document, texts, st.one_of(st.none(), words), st.none(), words)
shown = st.one_of(text_blocks, images, files, findings)
thoughts = st.one_of(
    st.builds(Thinking, texts),
    words.map(lambda text: Thinking(text, signature=SEAL.sign(text))),
    words.map(lambda data: Thinking("", sealed=data)),
)
arguments = objects.map(lambda value: json.dumps(value, ensure_ascii=False))
ids = st.sampled_from(["toolu_1", "any:2", "é"])
calls = st.builds(ToolCall, ids, words, arguments)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


assistant_turns = st.lists(st.one_of(text_blocks, thoughts, calls), max_size=4).map(
    lambda blocks: Message(Role.ASSISTANT, tuple(blocks))
)


@st.composite
def user_turns(draw: Callable[[st.SearchStrategy[Any]], Any], known: list[str]) -> Message:
    """Results of calls that were made, and anything that a user may show."""
    results = st.builds(ToolResult, st.sampled_from(known), st.lists(shown, max_size=2).map(tuple), st.booleans())
    kinds = st.one_of(shown, results) if known else shown
    return Message(Role.USER, tuple(draw(st.lists(kinds, max_size=3))))


@st.composite
def histories(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[Message, ...]:
    """Roles take turns, with system messages between them; the last block is no call."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message(Role.SYSTEM, tuple(draw(st.lists(text_blocks, min_size=1, max_size=2)))))
    known: list[str] = []
    for number in range(draw(st.integers(1, 5))):
        message = draw(assistant_turns) if number % 2 else draw(user_turns(known))
        known += [block.id for block in message.blocks if isinstance(block, ToolCall)]
        messages.append(message)
        if draw(st.integers(0, 5)) == 0:
            messages.append(Message(Role.SYSTEM, tuple(draw(st.lists(text_blocks, max_size=2)))))
    if messages[-1].blocks and isinstance(messages[-1].blocks[-1], ToolCall):
        messages.append(Message(Role.USER, (Text("go on"),)))
    assert all(before.role is not after.role or before.role is Role.SYSTEM for before, after in pairwise(messages))
    return tuple(messages)


def marked(messages: tuple[Message, ...], places: dict[int, CacheMark]) -> tuple[Message, ...]:
    """A mark on the nth block."""
    count = iter(range(10_000))

    def mark(block: Block) -> Block:
        found = places.get(next(count))
        return block if found is None else replace(block, mark=found)

    return tuple(Message(message.role, tuple(mark(block) for block in message.blocks)) for message in messages)


@st.composite
def conversations(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Conversation:
    tools = tuple(
        draw(
            st.lists(
                st.builds(Tool, words, maybe(texts), objects, maybe(st.booleans())),
                max_size=3,
                unique_by=lambda tool: tool.name,
            )
        )
    )
    modes = ["none", "auto", *(["required"] if tools else [])]
    choices: list[ToolChoice | None] = [None, *(ToolChoice(ToolChoiceMode(mode)) for mode in modes)]
    choices += [ToolChoice(ToolChoiceMode.NAMED, tool.name) for tool in tools]
    choice = draw(st.sampled_from(choices))
    places = draw(st.lists(st.integers(0, 8), unique=True, max_size=4).map(sorted))
    num_long = draw(st.integers(0, 4))
    marks = {place: CacheMark(3600.0 if number < num_long else 300.0) for number, place in enumerate(places)}
    messages = marked(draw(histories()), marks)
    last = messages[-1]
    return Conversation(
        model=draw(words),
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=choice is None or draw(st.booleans()),
        sampling=Sampling(
            max_tokens=draw(st.integers(2000, 2**40)),
            temperature=draw(maybe(st.floats(0, 1))),
            top_p=draw(maybe(st.floats(0, 1, exclude_min=True))),
            top_k=draw(maybe(st.integers(0, 99))),
            stop=tuple(draw(st.lists(words, max_size=3))),
        ),
        output_format=draw(
            st.one_of(st.just(OutputFormat()), st.builds(OutputFormat, st.just(OutputKind.JSON_SCHEMA), objects))
        ),
        reasoning=Reasoning(
            *draw(st.sampled_from([(None,), (True,), (False,), (None, "low"), (True, "max"), (True, None, 1024)]))
        ),
        template_arguments=draw(maybe(objects)),
        identity=Identity(session_id=draw(maybe(words)), user=draw(maybe(words))),
        continue_final=last.role is Role.ASSISTANT and bool(last.blocks) and isinstance(last.blocks[-1], Text),
    )


@given(conversations())
def test_what_is_encoded_decodes_to_the_same_conversation(conversation: Conversation) -> None:
    wire = msgspec.json.decode(msgspec.json.encode(encode_request(conversation)))
    decoded = decode_conversation(wire, {}, SEAL)
    assert all(entry.field.endswith(".data") for entry in decoded.reporting.ignored)
    assert replace(decoded, reporting=conversation.reporting) == conversation


@given(conversations())
def test_encoding_is_a_fixed_point(conversation: Conversation) -> None:
    wire = encode_request(conversation)
    assert encode_request(decode_conversation(wire, {}, SEAL)) == wire
