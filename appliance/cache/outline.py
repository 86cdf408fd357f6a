"""The regions of a conversation, piece by piece, before any template has seen it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from appliance.cache.region import Region
from appliance.cache.region_map import Origin
from appliance.conversation import (
    Block,
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

_SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})


class Part(NamedTuple):
    """One tool or one block of a message; `mark` is the longest mark on it or in it."""

    region: Region
    origin: Origin
    text: str
    mark: CacheMark | None = None


def outline(conversation: Conversation) -> Iterator[Part]:
    """Tools, then messages. A picture that a tool returned belongs to the result. A raw prompt is the user's."""
    if conversation.raw is not None:
        yield Part(Region.USER, Origin(), conversation.raw.text or "")
    for index, tool in enumerate(conversation.tools):
        yield Part(Region.TOOLS, Origin(tool=index), _tool_text(tool), tool.mark)
    opening = opening_messages(conversation.messages)
    for number, message in enumerate(conversation.messages):
        for index, block in enumerate(message.blocks):
            region = region_of(block, message.role, is_opening=number < opening)
            yield Part(region, Origin(number, index), _block_text(block), _mark(block))


def region_of(block: Block, role: Role, *, is_opening: bool) -> Region:
    """A system message that does not open the conversation is taken as the user's: what is kept as system text pulls
    up everything in front of it, and in the middle that would be the conversation."""
    match block:
        case Image():
            return Region.IMAGE
        case Thinking():
            return Region.THINKING
        case ToolCall():
            return Region.TOOL_CALL
        case ToolResult():
            return Region.TOOL_RESULT
    if role in _SYSTEM_ROLES:
        return Region.SYSTEM if is_opening else Region.USER
    return {Role.ASSISTANT: Region.ASSISTANT, Role.TOOL: Region.TOOL_RESULT}.get(role, Region.USER)


def opening_messages(messages: Sequence[Message]) -> int:
    """How many system messages stand before the first message of anyone else."""
    return next((n for n, message in enumerate(messages) if message.role not in _SYSTEM_ROLES), len(messages))


def _tool_text(tool: Tool) -> str:
    return " ".join(filter(None, (tool.name, tool.description, json.dumps(tool.parameters) if tool.parameters else "")))


def _block_text(block: Block) -> str:
    match block:
        case Text() | Thinking():
            return block.text
        case Image():
            return ""
        case Document():
            return "\n".join(filter(None, (block.title, block.context, block.text)))
        case ToolCall():
            return f"{block.name} {block.arguments}"
        case ToolResult():
            return "\n".join(map(_block_text, block.content))


def _mark(block: Block) -> CacheMark | None:
    inner = [part.mark for part in block.content] if isinstance(block, ToolResult) else []
    return max(filter(None, (block.mark, *inner)), key=lambda mark: mark.ttl_seconds, default=None)
