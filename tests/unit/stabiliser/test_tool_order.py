from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation import Conversation, Tool
from appliance.stabiliser.rule import Action, Change
from appliance.stabiliser.tool_order import TOOL_ORDER
from tests.unit.stabiliser.clients import MARK, claude_code


def test_the_tools_of_a_server_come_last() -> None:
    changed, changes = TOOL_ORDER.apply(claude_code())
    assert [tool.name for tool in changed.tools] == ["Bash", "Edit", "Task", "mcp__docs__find"]
    assert changes == (Change("tool_order", Action.SORTED, "tools", "Bash, Edit, Task, mcp__docs__find", 33),)


def test_every_order_gives_the_same_tools() -> None:
    tools = (Tool("b", "B"), Tool("a", "A"), Tool("c", "C"), Tool("mcp__a", "D"))
    orders = {
        TOOL_ORDER.apply(Conversation("m", (), tools=each)).conversation for each in itertools.permutations(tools)
    }
    assert len(orders) == 1


def test_the_mark_stays_on_the_last_tool() -> None:
    changed = TOOL_ORDER.apply(Conversation("m", (), tools=(Tool("b"), Tool("a", mark=MARK)))).conversation
    assert changed.tools == (Tool("a"), Tool("b", mark=MARK))


def test_tools_in_order_are_not_touched() -> None:
    ordered = Conversation("m", (), tools=(Tool("a", mark=MARK), Tool("b")))
    assert TOOL_ORDER.apply(ordered) == (ordered, ())


@given(st.lists(st.builds(Tool, st.sampled_from(["a", "b", "mcp__a", "mcp__b"]), st.text(max_size=2)), max_size=6))
def test_no_tool_is_lost(tools: list[Tool]) -> None:
    changed = TOOL_ORDER.apply(Conversation("m", (), tools=tuple(tools))).conversation
    assert sorted(changed.tools, key=str) == sorted(tools, key=str)
