from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from appliance.api.chat import decode_conversation, encode_request
from appliance.api.custom_tools import custom_arguments, custom_tool
from appliance.api.extension import REPORTABLE
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
    RetentionDirective,
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

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
marks = st.sampled_from([None, CacheMark(300.0), CacheMark(3600.0), CacheMark(90.0), CacheMark(86400.0)])
objects = st.dictionaries(texts, st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts), max_size=3)
names = st.one_of(st.none(), texts)
flags = st.sampled_from([None, True, False])
tool_names = st.sampled_from(["read", "patch", "search"])
text_blocks = st.builds(Text, texts, marks)
urls = st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="])
images = st.builds(Image, urls, st.sampled_from([None, "auto", "low", "high"]), marks)
documents = st.builds(Document, texts, st.one_of(st.none(), words), mark=marks)
parts = st.lists(st.one_of(text_blocks, images, documents), max_size=3).map(tuple)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


def reals(low: float, high: float, *, above: bool = False) -> st.SearchStrategy[float | None]:
    return maybe(st.floats(low, high, exclude_min=above))


def assistant(thinking: str | None, spoken: list[Text], calls: list[ToolCall]) -> tuple[Block, ...]:
    return (*([Thinking(thinking)] if thinking else []), *spoken, *calls)


plain_messages = st.builds(
    Message,
    st.sampled_from([Role.SYSTEM, Role.DEVELOPER]),
    st.lists(text_blocks, max_size=3).map(tuple),
    names,
)
user_messages = st.builds(Message, st.just(Role.USER), parts, names)
assistant_messages = st.builds(
    Message,
    st.just(Role.ASSISTANT),
    st.builds(
        assistant,
        maybe(words),
        st.lists(text_blocks, max_size=2),
        st.lists(
            st.builds(ToolCall, words, tool_names, st.one_of(texts, texts.map(custom_arguments)), marks), max_size=2
        ),
    ),
    names,
)


@st.composite
def histories(draw: Callable[[st.SearchStrategy[Any]], Any]) -> tuple[Message, ...]:
    """After every message there may be results of the calls made so far."""
    messages: list[Message] = []
    call_ids: list[str] = []
    for message in draw(st.lists(st.one_of(plain_messages, user_messages, assistant_messages), min_size=1, max_size=5)):
        messages.append(message)
        call_ids += [block.id for block in message.blocks if isinstance(block, ToolCall)]
        for call_id in draw(st.lists(st.sampled_from(call_ids), max_size=2)) if call_ids else []:
            result = ToolResult(call_id, draw(parts), mark=draw(marks))
            messages.append(Message(Role.TOOL, (result,), draw(names)))
    return tuple(messages)


tools = st.one_of(
    st.builds(Tool, tool_names, names, maybe(objects), flags, marks), st.builds(custom_tool, tool_names, names, marks)
)
tool_lists = st.lists(tools, max_size=3, unique_by=lambda tool: tool.name).map(tuple)
output_formats = st.one_of(
    st.builds(OutputFormat, st.sampled_from([OutputKind.TEXT, OutputKind.JSON_OBJECT])),
    st.builds(OutputFormat, st.just(OutputKind.JSON_SCHEMA), objects, names, flags),
)
samplings = st.builds(
    Sampling,
    max_tokens=maybe(st.integers(9, 2**40)),
    min_tokens=maybe(st.integers(0, 9)),
    temperature=reals(0, 2),
    top_p=reals(0, 1, above=True),
    top_k=maybe(st.integers(-1, 99)),
    min_p=reals(0, 1),
    frequency_penalty=reals(-2, 2),
    presence_penalty=reals(-2, 2),
    repetition_penalty=reals(0, 9, above=True),
    seed=maybe(st.integers(-(2**63), 2**63 - 1)),
    stop=st.lists(words, max_size=3).map(tuple),
    stop_token_ids=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    ignore_eos=st.booleans(),
    logprobs=maybe(st.integers(0, 20)),
    logit_bias=maybe(st.dictionaries(st.integers(0, 99).map(str), st.floats(-100, 100), max_size=3)),
    n=st.integers(1, 16),
)


directives = st.builds(
    RetentionDirective,
    st.integers(0, 99),
    maybe(st.integers(100, 999)),
    st.integers(0, 100),
    maybe(st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)),
)
hints = st.builds(
    Hints,
    priority=st.integers(-(2**31) + 1, 2**31 - 1),
    strict_priority=maybe(st.integers(0, 9)),
    output_tokens=maybe(st.integers(0, 999)),
    speculative_prefill=st.booleans(),
    prefix_id=maybe(words),
    total_requests=maybe(st.integers(0, 99)),
    interarrival_seconds=maybe(st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)),
    session_final=st.booleans(),
    worker=maybe(st.integers(0, 9)),
    retention=st.lists(directives, max_size=2).map(tuple),
    tool_wait_seconds=maybe(st.integers(0, 10**6).map(lambda milliseconds: milliseconds / 1000)),
)
reasonings = st.builds(Reasoning, flags, st.sampled_from([None, "none", "low", "max"]), maybe(st.integers(0, 2**31)))
reportings = st.builds(
    lambda fields, compared: Reporting(fields, compared is not None, compared),
    st.frozensets(st.sampled_from(REPORTABLE)),
    maybe(words),
)


@st.composite
def conversations(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Conversation:
    tools = draw(tool_lists)
    modes = ["none", "auto", *(["required"] if tools else [])]
    choices: list[ToolChoice | None] = [None, *(ToolChoice(ToolChoiceMode(mode)) for mode in modes)]
    choices += [ToolChoice(ToolChoiceMode.NAMED, tool.name) for tool in tools]
    return Conversation(
        model=draw(words),
        messages=draw(histories()),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        parallel_tool_calls=draw(st.booleans()),
        sampling=draw(samplings),
        output_format=draw(output_formats),
        reasoning=draw(reasonings),
        template_arguments=draw(maybe(objects)),
        cache_salt=draw(maybe(words)),
        identity=Identity(draw(maybe(words)), draw(maybe(words)), user=draw(maybe(words))),
        hints=draw(hints),
        reporting=draw(reportings),
    )


@given(conversations())
def test_what_is_encoded_decodes_to_the_same_conversation(conversation: Conversation) -> None:
    wire = msgspec.json.decode(msgspec.json.encode(encode_request(conversation)))
    assert decode_conversation(wire, {}) == conversation


@given(conversations())
def test_encoding_is_a_fixed_point(conversation: Conversation) -> None:
    wire = encode_request(conversation)
    assert encode_request(decode_conversation(wire, {})) == wire
