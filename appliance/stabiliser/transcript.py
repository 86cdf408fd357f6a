"""A conversation as lines of text, in the order in which most templates render it: for people who compare two."""

from __future__ import annotations

import json
from collections.abc import Iterator

from appliance.conversation import Block, Conversation, Document, Image, Text, Thinking, Tool, ToolCall, ToolResult


def transcript(conversation: Conversation) -> list[str]:
    """Lines without breaks. Every message and block begins with a line in square brackets that names it."""
    lines = [line for tool in conversation.tools for line in _tool_lines(tool)]
    for message in conversation.messages:
        lines.append(f"[{message.role}]")
        for block in message.blocks:
            lines += _block_lines(block)
    return lines


def _tool_lines(tool: Tool) -> Iterator[str]:
    yield f"[tool {tool.name}]{_mark(tool)}"
    yield from (tool.description or "").splitlines()
    if tool.parameters is not None:
        yield json.dumps(tool.parameters, ensure_ascii=False)


def _block_lines(block: Block) -> Iterator[str]:
    yield f"[{_kind(block)}]{_mark(block)}"
    match block:
        case Text() | Thinking() | Document():
            yield from block.text.splitlines()
        case Image():
            yield block.url[:80]
        case ToolCall():
            yield from block.arguments.splitlines()
        case ToolResult():
            for part in block.content:
                yield from _block_lines(part)


def _kind(block: Block) -> str:
    match block:
        case ToolCall():
            return f"call of {block.name}"
        case ToolResult():
            return f"result of {block.call_id}"
        case _:
            return type(block).__name__.lower()


def _mark(marked: Tool | Block) -> str:
    return "" if marked.mark is None else f" keep {marked.mark.ttl_seconds:g} s"
