from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from appliance.engine.marks import Place, common_prefix, places, signed
from appliance.engine.rendering import Renderer
from appliance.generation import MarkedPrefix
from tests.unit.engine.conversations import WEATHER

pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

SHORT, LONG = CacheMark(300.0), CacheMark(3600.0)


def said(*blocks: Text | Thinking | ToolCall | Document | Image, role: Role = Role.USER) -> Message:
    return Message(role, blocks)


@given(st.text("ab", max_size=30), st.text("ab", max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_a_common_prefix_is_the_longest(text: str, other: str, start: int, other_start: int) -> None:
    length = common_prefix(text, other, start, other_start)
    mine, others = text[start:], other[other_start:]
    assert length <= min(len(mine), len(others))
    assert mine[:length] == others[:length]
    assert mine[length : length + 1] != others[length : length + 1] or not mine[length:] or not others[length:]


pieces = st.lists(st.tuples(st.text("ab \n", max_size=6), st.booleans()), min_size=1, max_size=8)


@given(pieces)
def test_every_mark_stands_behind_its_text(parts: list[tuple[str, bool]]) -> None:
    """The template writes one text behind the other, so every place is known beforehand."""
    blocks = tuple(Text(text, SHORT if marked else None) for text, marked in parts)
    conversation = Conversation("m", (Message(Role.USER, blocks),))
    marks, longer = signed(conversation)
    text = "".join(block.text for block in blocks)
    signed_text = "".join(block.text for block in longer.messages[0].blocks if isinstance(block, Text))
    found = list(places(text, signed_text, marks))
    ends = [len("".join(other for other, _ in parts[: number + 1])) for number in range(len(parts))]
    assert [place.characters for place in found] == [
        end for end, (_, marked) in zip(ends, parts, strict=True) if marked
    ]


def test_without_marks_nothing_is_signed() -> None:
    conversation = Conversation("m", (said(Text("Hi")),), (WEATHER,))
    assert signed(conversation) == ((), conversation)
    assert signed(conversation).conversation is conversation


def test_marks_are_numbered_in_the_order_of_tools_then_messages() -> None:
    result = ToolResult("1", (Text("a", SHORT), Text("b")), mark=LONG)
    conversation = Conversation(
        "m", (said(Text("Hi", LONG)), Message(Role.TOOL, (result,))), (Tool("t", mark=SHORT), Tool("u"))
    )
    assert signed(conversation).marks == (SHORT, LONG, SHORT, LONG)


@pytest.mark.parametrize(
    "block",
    [
        Text("cache", SHORT),
        Document("cache", title="t", mark=SHORT),
        Thinking("cache", SHORT),
        Image("data:image/png;base64,", mark=SHORT),
        ToolCall("1", "cache", '{"a": 1}', SHORT),
        ToolCall("1", "cache", "", SHORT),
        ToolCall("1", "cache", "not JSON", SHORT),
        ToolResult("1", (Text("cache"),), mark=SHORT),
        ToolResult("1", (), mark=SHORT),
        ToolResult("1", (Image("data:image/png;base64,", mark=SHORT),)),
    ],
)
def test_a_signed_block_says_more_and_stays_what_it_is(
    block: Text | Document | Thinking | Image | ToolCall | ToolResult,
) -> None:
    marks, longer = signed(Conversation("m", (Message(Role.USER, (block,)),)))
    assert marks == (SHORT,)
    assert type(longer.messages[0].blocks[0]) is type(block)
    assert longer.messages[0].blocks != (block,)


def test_signed_arguments_stay_json() -> None:
    call = ToolCall("1", "f", '{"a": 1}', SHORT)
    longer = signed(Conversation("m", (said(call, role=Role.ASSISTANT),))).conversation.messages[0].blocks[0]
    assert isinstance(longer, ToolCall)
    assert json.loads(longer.arguments)["a"] == 1


def test_a_mark_that_the_template_leaves_out_has_no_place() -> None:
    assert list(places("abc", "abc", (SHORT,))) == []


def test_the_order_of_the_text_counts_not_that_of_the_marks() -> None:
    text = "system text tools text " + "x" * 60
    signed_text = text.replace("system text", "system text\u20421\u2042").replace(
        "tools text", "tools text\u20420\u2042"
    )
    assert list(places(text, signed_text, (LONG, SHORT))) == [Place(SHORT, 11), Place(LONG, 22)]


async def test_marks_become_numbers_of_tokens(renderer: Renderer) -> None:
    """The tiny tokenizer makes a token of every byte."""
    system = Message(Role.SYSTEM, (Text("You help."), Text(" Always.", LONG)))
    question = said(Text("First part.", SHORT), Text(" Second part."))
    call = said(Text("Well."), ToolCall("1", "weather", '{"city": "Rome"}', SHORT), role=Role.ASSISTANT)
    result = Message(Role.TOOL, (ToolResult("1", (Text("It rains."),), mark=SHORT),))
    conversation = Conversation("tiny", (system, question, call, result), (replace(WEATHER, mark=LONG),))
    prompt = await renderer.render(conversation)
    decode = renderer._renderer.get_tokenizer().decode
    heads = [(decode(prompt.token_ids[: marked.tokens]), marked.ttl_seconds) for marked in prompt.marked]
    assert [ttl for _, ttl in heads] == [3600.0, 3600.0, 300.0, 300.0, 300.0]
    tools, *rest = (head for head, _ in heads)
    assert tools.startswith('{"type"')
    assert "<|im_start|>" not in tools
    ends = [" Always.", "First part.", "Rome", "It rains."]
    assert [end in head[-20:] for head, end in zip(rest, ends, strict=True)] == [True] * 4


async def test_marks_change_neither_prompt_nor_hits(renderer: Renderer) -> None:
    plain = Conversation("tiny", (said(Text("Hello there")),))
    marked = Conversation("tiny", (said(Text("Hello there", SHORT)),))
    prompt = await renderer.render(marked)
    assert prompt.token_ids == (await renderer.render(plain)).token_ids
    assert prompt.marked == (MarkedPrefix(len(prompt.token_ids) - len("|assistant\n|") - 1, 300.0),)
