from __future__ import annotations

from appliance.cache.outline import outline
from appliance.cache.region import Region
from appliance.cache.region_map import Origin
from appliance.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    RawPrompt,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

SHORT, LONG = CacheMark(60), CacheMark(3600)


def of(*messages: tuple[Role, Block], tools: tuple[Tool, ...] = ()) -> Conversation:
    return Conversation("m", tuple(Message(role, (block,)) for role, block in messages), tools)


def regions(*messages: tuple[Role, Block]) -> list[Region]:
    return [part.region for part in outline(of(*messages))]


def test_each_kind_of_block_has_its_region() -> None:
    assert regions(
        (Role.SYSTEM, Text("a")),
        (Role.DEVELOPER, Text("b")),
        (Role.USER, Text("c")),
        (Role.USER, Image("data:")),
        (Role.USER, Document("d")),
        (Role.ASSISTANT, Thinking("e")),
        (Role.ASSISTANT, Text("f")),
        (Role.ASSISTANT, ToolCall("1", "n", "{}")),
        (Role.TOOL, ToolResult("1", (Image("data:"),))),
    ) == [
        Region.SYSTEM, Region.SYSTEM, Region.USER, Region.IMAGE, Region.USER,
        Region.THINKING, Region.ASSISTANT, Region.TOOL_CALL, Region.TOOL_RESULT,
    ]  # fmt: skip


def test_a_system_message_behind_the_opening_ones_is_the_user_s() -> None:
    assert regions((Role.SYSTEM, Text("a")), (Role.USER, Text("b")), (Role.SYSTEM, Text("c"))) == [
        Region.SYSTEM, Region.USER, Region.USER,
    ]  # fmt: skip


def test_tools_come_first_and_each_part_knows_where_it_is_from() -> None:
    tool = Tool("read", "reads", {"type": "object"}, mark=SHORT)
    message = Message(Role.USER, (Text("a"), Text("b", mark=LONG)))
    parts = [*outline(Conversation("m", (message,), (tool,)))]
    assert [(part.region, part.origin, part.text, part.mark) for part in parts] == [
        (Region.TOOLS, Origin(tool=0), 'read reads {"type": "object"}', SHORT),
        (Region.USER, Origin(0, 0), "a", None),
        (Region.USER, Origin(0, 1), "b", LONG),
    ]


def test_of_the_marks_on_and_in_a_tool_result_the_longest_counts() -> None:
    result = ToolResult("1", (Text("a", mark=LONG), Document("b", title="t")), mark=SHORT)
    (part,) = outline(of((Role.TOOL, result)))
    assert (part.text, part.mark) == ("a\nt\nb", LONG)


def test_a_raw_prompt_is_the_user_s() -> None:
    (part,) = outline(Conversation("m", (), raw=RawPrompt(text="abc")))
    assert (part.region, part.text) == (Region.USER, "abc")
