from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cache.region import Region
from appliance.cache.region_map import Origin
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
from appliance.engine.placed import Placed, marked_prefixes, region_map
from appliance.engine.places import FRAMES, Place, Signed, Spot, common_prefix, free_frame, places, signed
from appliance.engine.rendering import Renderer
from appliance.generation import MarkedPrefix
from tests.unit.engine.conversations import WEATHER

pytestmark = pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning")

SHORT, LONG = CacheMark(300.0), CacheMark(3600.0)
FRAME = FRAMES[0]


def said(*blocks: Text | Thinking | ToolCall | Document | Image, role: Role = Role.USER) -> Message:
    return Message(role, blocks)


@given(st.text("ab", max_size=30), st.text("ab", max_size=30), st.integers(0, 5))
def test_a_common_prefix_is_the_longest(text: str, other: str, start: int) -> None:
    length = common_prefix(text, other, start)
    mine = text[start:]
    assert length <= min(len(mine), len(other))
    assert mine[:length] == other[:length]
    assert mine[length : length + 1] != other[length : length + 1] or not mine[length:] or not other[length:]


def asked(*spots: Spot) -> Signed:
    return Signed(spots, Conversation("m", ()), FRAME)


pieces = st.lists(st.text("ab \n", max_size=6), min_size=1, max_size=8)


@given(pieces)
def test_every_block_ends_behind_its_text(parts: list[str]) -> None:
    """The template writes one text behind the other, so every place is known beforehand."""
    conversation = Conversation("m", (Message(Role.USER, tuple(map(Text, parts))),))
    longer = signed(conversation, FRAME)
    signed_text = "".join(block.text for block in longer.conversation.messages[0].blocks if isinstance(block, Text))
    found = places("".join(parts), signed_text, longer).places
    assert [place.characters for place in found] == [len("".join(parts[: n + 1])) for n in range(len(parts))]


def test_spots_are_those_of_tools_then_messages_with_parts_of_results_between() -> None:
    result = Message(Role.TOOL, (ToolResult("1", (Text("a"), Text("b"))),))
    conversation = Conversation("m", (said(Text("Hi")), result), (Tool("t"), Tool("u")))
    assert signed(conversation, FRAME).spots == (
        Spot(Region.TOOLS, Origin(tool=0)),
        Spot(Region.TOOLS, Origin(tool=1)),
        Spot(Region.USER, Origin(0, 0)),
        Spot(None, Origin(1, 0), 0),
        Spot(Region.TOOL_RESULT, Origin(1, 0)),
    )


def test_the_end_of_a_conversation_has_the_spots_of_the_whole_without_tools() -> None:
    conversation = Conversation("m", (said(Text("Hi")), said(Text("Ho")), said(Text("Hu"))), (Tool("t"),))
    spots, end, _ = signed(conversation, FRAME, 1)
    assert spots == signed(conversation, FRAME).spots[2:]
    assert (len(end.messages), end.tools) == (2, ())


@pytest.mark.parametrize("held", range(len(FRAMES)))
def test_a_sign_has_a_frame_that_the_text_does_not_hold(held: int) -> None:
    text = f"a{FRAMES[:held]}1{FRAMES[:held]}"
    assert free_frame(text) == FRAMES[held]
    assert free_frame(FRAMES) is None


ends = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=8)


@given(ends, st.integers(0, 40))
def test_regions_cover_the_prompt_whatever_was_found(found: list[tuple[bool, int]], prompt_tokens: int) -> None:
    placed = [Placed(Spot(Region.USER if ends_block else None, Origin()), end, end) for ends_block, end in found]
    regions = region_map(sorted(placed, key=lambda each: each.tokens), prompt_tokens)
    regions.check_integrity()
    assert regions.tokens == prompt_tokens


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
    conversation = Conversation("m", (Message(Role.USER, (block,)),))
    (spot,), longer, _ = signed(conversation, FRAME)
    assert type(longer.messages[0].blocks[0]) is type(block)
    assert longer.messages[0].blocks != (block,)
    assert marked_prefixes([Placed(spot, 9, 3)], conversation) == (MarkedPrefix(3, SHORT.ttl_seconds),)


def test_signed_arguments_stay_json() -> None:
    call = ToolCall("1", "f", '{"a": 1}', SHORT)
    longer = signed(Conversation("m", (said(call, role=Role.ASSISTANT),)), FRAME).conversation.messages[0].blocks[0]
    assert isinstance(longer, ToolCall)
    assert json.loads(longer.arguments)["a"] == 1


def test_a_block_that_the_template_leaves_out_has_no_place() -> None:
    assert places("abc", "abc", asked(Spot(Region.USER, Origin()))).places == ()


def test_of_the_marks_on_a_result_and_on_its_last_part_the_longer_counts() -> None:
    result = ToolResult("1", (Text("a", LONG), Text("b", LONG)), mark=SHORT)
    conversation = Conversation("m", (Message(Role.TOOL, (result,)),))
    placed = [Placed(spot, end, end) for end, spot in enumerate(signed(conversation, FRAME).spots, start=1)]
    assert marked_prefixes(placed, conversation) == (MarkedPrefix(1, 3600.0), MarkedPrefix(2, 3600.0))


def test_the_order_of_the_text_counts_not_that_of_the_marks() -> None:
    text = "system text tools text " + "x" * 60
    signed_text = text.replace("system text", f"system text{FRAME}1{FRAME}").replace(
        "tools text", f"tools text{FRAME}0{FRAME}"
    )
    tools, system = (Spot(region, Origin()) for region in (Region.TOOLS, Region.SYSTEM))
    assert places(text, signed_text, asked(tools, system)).places == (Place(system, 11), Place(tools, 22))


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


async def test_every_token_has_the_region_of_its_block(renderer: Renderer) -> None:
    conversation = Conversation(
        "tiny",
        (
            Message(Role.SYSTEM, (Text("You help."),)),
            said(Text("Question?")),
            said(Thinking("Hm."), Text("Well."), ToolCall("1", "weather", '{"city": "Rome"}'), role=Role.ASSISTANT),
            Message(Role.TOOL, (ToolResult("1", (Text("It rains."),)),)),
        ),
        (WEATHER,),
    )
    prompt = await renderer.render(conversation)
    assert prompt.regions is not None
    assert prompt.regions.tokens == len(prompt.token_ids)
    decode = renderer._renderer.get_tokenizer().decode
    texts = {span.region: decode(prompt.token_ids[span.start : span.end]) for span in prompt.regions.spans}
    wanted = {
        Region.TOOLS: '"name": "weather"',
        Region.SYSTEM: "You help.",
        Region.USER: "Question?",
        Region.THINKING: "Hm.",
        Region.ASSISTANT: "Well.",
        Region.TOOL_CALL: "Rome",
        Region.TOOL_RESULT: "It rains.",
    }
    assert {region: text in texts[region] for region, text in wanted.items()} == dict.fromkeys(wanted, True)
