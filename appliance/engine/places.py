"""Where the blocks of a conversation end in its rendered prompt, and where the client's cache marks stand.

Only the template knows how blocks become text. So it is asked: the conversation is rendered once more with a numbered
sign at the end of every block, and a block ends where its sign makes the two texts part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from appliance.cache.outline import outline
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
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
from appliance.generation import MarkedPrefix

SIGN = re.compile("\u2042([0-9]+)\u2042")
# As much of a text must follow a sign for the two to be taken as joined again.
JOINED_CHARACTERS = 48
AROUND_CHARACTERS = 8
"""At most so many come with a sign that is a key of a JSON object: `, "` before it and `": ""` behind."""


class Spot(NamedTuple):
    """Something of a conversation that ends, with the mark on it. A part within a tool's result has no region: it ends
    no block."""

    region: Region | None
    origin: Origin
    mark: CacheMark | None


class Signed(NamedTuple):
    """`conversation` is the one given with the sign of `spots[n]`, which holds the number n, where that spot ends."""

    spots: tuple[Spot, ...]
    conversation: Conversation


class Place(NamedTuple):
    """A spot and how many characters of the prompt stand before its end."""

    spot: Spot
    characters: int


def signed(conversation: Conversation) -> Signed:
    """Every tool and block has a spot; of the parts of a tool's result those that are marked."""
    signer = _Signer(conversation)
    tools = tuple(map(signer.tool, conversation.tools))
    messages = tuple(map(signer.message, conversation.messages))
    return Signed(tuple(signer.spots), replace(conversation, tools=tools, messages=messages))


def places(text: str, signed_text: str, spots: Sequence[Spot]) -> Iterator[Place]:
    """The places of `spots` in `text`, in its order. What a template leaves out has none."""
    here = there = 0
    while (sign := SIGN.search(signed_text, there)) is not None:
        here += common_prefix(text, signed_text[there : sign.start()], here)
        yield Place(spots[int(sign[1])], here)
        joined = _joined(text, signed_text, here, sign.end())
        if joined is None:
            return
        there = joined


def region_map(spots: Sequence[Spot], tokens: Sequence[int], prompt_tokens: int) -> RegionMap:
    """The regions of a prompt whose `spots`, in its order, end after so many `tokens`. What a template writes before a
    block belongs to it, what it writes behind the last belongs to that."""
    spans: list[Span] = []
    start = 0
    for spot, end in zip(spots, tokens, strict=True):
        if spot.region is not None and start < end <= prompt_tokens:
            spans.append(Span(start, end, spot.region, spot.origin))
            start = end
    if not spans:
        return RegionMap([Span(0, prompt_tokens, Region.USER)] if prompt_tokens else ())
    return RegionMap([*spans[:-1], spans[-1]._replace(end=prompt_tokens)])


def marked_prefixes(spots: Sequence[Spot], tokens: Sequence[int]) -> tuple[MarkedPrefix, ...]:
    return tuple(
        MarkedPrefix(count, spot.mark.ttl_seconds)
        for spot, count in zip(spots, tokens, strict=True)
        if spot.mark is not None
    )


def common_prefix(text: str, other: str, start: int = 0) -> int:
    """How many characters of `text` from `start` on and of `other` are the same."""
    low, high = 0, min(len(text) - start, len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text[start + low : start + middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


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


class _Signer:
    def __init__(self, conversation: Conversation) -> None:
        self.spots: list[Spot] = []
        self._parts = outline(conversation)

    def tool(self, tool: Tool) -> Tool:
        """The parameters are what templates write last of a tool."""
        return replace(tool, parameters={**(tool.parameters or {}), self._end_of_block(tool.mark): ""})

    def message(self, message: Message) -> Message:
        return replace(message, blocks=tuple(longer for block in message.blocks for longer in self._block(block)))

    def _block(self, block: Block) -> tuple[Block, ...]:
        if isinstance(block, ToolResult):
            return (self._result(block),)
        sign = self._end_of_block(block.mark)
        if isinstance(block, ToolCall):
            return (replace(block, arguments=_longer_arguments(block.arguments, sign)),)
        if isinstance(block, Thinking):
            return (replace(block, text=block.text + sign) if block.text else block,)
        return _longer_part(block, sign)

    def _result(self, result: ToolResult) -> ToolResult:
        content = tuple(
            longer
            for part in result.content
            for longer in ((part,) if part.mark is None else _longer_part(part, self._end_of_part(part.mark)))
        )
        sign = self._end_of_block(result.mark)
        content = (*content[:-1], *_longer_part(content[-1], sign)) if content else (Text(sign),)
        return replace(result, content=content)

    def _end_of_block(self, mark: CacheMark | None) -> str:
        part = next(self._parts)
        return self._sign(Spot(part.region, part.origin, mark))

    def _end_of_part(self, mark: CacheMark) -> str:
        return self._sign(Spot(None, Origin(), mark))

    def _sign(self, spot: Spot) -> str:
        self.spots.append(spot)
        return f"\u2042{len(self.spots) - 1}\u2042"


def _longer_part(part: Text | Image | Document, sign: str) -> tuple[Text | Image | Document, ...]:
    return (part, Text(sign)) if isinstance(part, Image) else (replace(part, text=part.text + sign),)


def _longer_arguments(arguments: str, sign: str) -> str:
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = None
    return json.dumps({**parsed, sign: ""}, ensure_ascii=False) if isinstance(parsed, dict) else arguments + sign
