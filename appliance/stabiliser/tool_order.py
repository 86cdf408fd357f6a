"""Tools in one order, in whatever order their servers happened to answer the client."""

from __future__ import annotations

from dataclasses import dataclass, replace

from appliance.conversation import Conversation, Tool
from appliance.stabiliser.rule import Action, Change, Stabilised, excerpt

SERVER_PREFIX = "mcp__"


@dataclass(frozen=True, slots=True)
class ToolOrderRule:
    """Sorts tools by name, those of MCP servers last: they may come and go within a session.

    Cache marks keep their positions: one on the last tool means the whole list, whichever tool is last.
    """

    name: str

    def apply(self, conversation: Conversation) -> Stabilised:
        tools = conversation.tools
        ordered = tuple(sorted(tools, key=_rank))
        if ordered == tools:
            return Stabilised(conversation)
        moved = [tool.name for tool, before in zip(ordered, tools, strict=True) if tool.name != before.name]
        marked = tuple(replace(tool, mark=before.mark) for tool, before in zip(ordered, tools, strict=True))
        names = ", ".join(moved)
        change = Change(self.name, Action.SORTED, "tools", excerpt(names), len(names))
        return Stabilised(replace(conversation, tools=marked), (change,))


def _rank(tool: Tool) -> tuple[bool, str]:
    return tool.name.startswith(SERVER_PREFIX), tool.name


TOOL_ORDER = ToolOrderRule("tool_order")
