"""Where a client's cache marks stand in the rendered prompt.

Only the template knows how blocks become text. So it is asked: the conversation is rendered once more with a numbered
sign at the end of every marked block, and a mark stands where its sign makes the two texts part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from appliance.conversation import (
    Block,
    CacheMark,
    Conversation,
    Document,
    Image,
    Message,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

SIGN = re.compile("\u2042([0-9]+)\u2042")
# As much of a text must follow a sign for the two to be taken as joined again.
JOINED_CHARACTERS = 48
AROUND_CHARACTERS = 8
"""At most so many come with a sign that is a key of a JSON object: `, "` before it and `": ""` behind."""


class Signed(NamedTuple):
    """`conversation` is the marked one with the sign of `marks[n]`, which holds the number n, behind each mark."""

    marks: tuple[CacheMark, ...]
    conversation: Conversation


class Place(NamedTuple):
    """A mark and how many characters of the prompt stand before it."""

    mark: CacheMark
    characters: int


def signed(conversation: Conversation) -> Signed:
    """`marks` is empty, and the conversation the same, when nothing is marked."""
    if not _is_marked(conversation):
        return Signed((), conversation)
    signer = _Signer()
    tools = tuple(map(signer.tool, conversation.tools))
    messages = tuple(map(signer.message, conversation.messages))
    return Signed(tuple(signer.marks), replace(conversation, tools=tools, messages=messages))


def places(text: str, signed_text: str, marks: tuple[CacheMark, ...]) -> Iterator[Place]:
    """The places of `marks` in `text`, in its order. A mark in what a template leaves out has none."""
    here = there = 0
    while (sign := SIGN.search(signed_text, there)) is not None:
        here += common_prefix(text, signed_text[: sign.start()], here, there)
        yield Place(marks[int(sign[1])], here)
        joined = _joined(text, signed_text, here, sign.end())
        if joined is None:
            return
        there = joined


def _joined(text: str, signed_text: str, here: int, end_of_sign: int) -> int | None:
    """Where `signed_text` goes on as `text` does from `here`: behind the sign and the few characters of JSON that may
    come with it, as others may come with the next."""
    following = SIGN.search(signed_text, end_of_sign)
    limit = len(signed_text) if following is None else following.start()
    for start in range(end_of_sign, min(end_of_sign + AROUND_CHARACTERS, limit) + 1):
        piece = signed_text[start : min(start + JOINED_CHARACTERS, limit)]
        if common_prefix(text, piece, here) >= len(piece) - (AROUND_CHARACTERS if following else 0):
            return start
    return None


def common_prefix(text: str, other: str, start: int = 0, other_start: int = 0) -> int:
    """How many characters are the same from `start` and `other_start` on."""
    low, high = 0, min(len(text) - start, len(other) - other_start)
    while low < high:
        middle = (low + high + 1) // 2
        if text[start + low : start + middle] == other[other_start + low : other_start + middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _is_marked(conversation: Conversation) -> bool:
    return any(tool.mark for tool in conversation.tools) or any(
        block.mark or (isinstance(block, ToolResult) and any(part.mark for part in block.content))
        for message in conversation.messages
        for block in message.blocks
    )


class _Signer:
    def __init__(self) -> None:
        self.marks: list[CacheMark] = []
        self._numbers = count()

    def tool(self, tool: Tool) -> Tool:
        """The parameters are what templates write last of a tool."""
        if tool.mark is None:
            return tool
        return replace(tool, parameters={**(tool.parameters or {}), self._sign(tool.mark): ""})

    def message(self, message: Message) -> Message:
        return replace(message, blocks=tuple(signed for block in message.blocks for signed in self._block(block)))

    def _block(self, block: Block) -> tuple[Block, ...]:
        if isinstance(block, ToolResult):
            return (self._result(block),)
        if block.mark is None:
            return (block,)
        sign = self._sign(block.mark)
        if isinstance(block, ToolCall):
            return (replace(block, arguments=_longer_arguments(block.arguments, sign)),)
        if isinstance(block, Thinking):
            return (replace(block, text=block.text + sign),)
        return _longer_part(block, sign)

    def _result(self, result: ToolResult) -> ToolResult:
        content = tuple(
            longer
            for part in result.content
            for longer in ((part,) if part.mark is None else _longer_part(part, self._sign(part.mark)))
        )
        if result.mark is not None:
            sign = self._sign(result.mark)
            content = (*content[:-1], *_longer_part(content[-1], sign)) if content else (Text(sign),)
        return replace(result, content=content)

    def _sign(self, mark: CacheMark) -> str:
        self.marks.append(mark)
        return f"\u2042{next(self._numbers)}\u2042"


def _longer_part(part: Text | Image | Document, sign: str) -> tuple[Text | Image | Document, ...]:
    return (part, Text(sign)) if isinstance(part, Image) else (replace(part, text=part.text + sign),)


def _longer_arguments(arguments: str, sign: str) -> str:
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = None
    return json.dumps({**parsed, sign: ""}, ensure_ascii=False) if isinstance(parsed, dict) else arguments + sign
