"""Where the blocks of a conversation end in its rendered prompt.

Only the template knows how blocks become text. So it is asked: the conversation is rendered once more with a numbered
sign at the end of every block, and a block ends where its sign makes the two texts part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from appliance.cache.outline import opening_messages, region_of
from appliance.cache.region import Region
from appliance.cache.region_map import Origin
from appliance.conversation import (
    Block,
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

FRAMES = "\u00a4\u00ac\u2042\ue000\ue001\ue002\ue003"
"""What may stand around the number of a sign: the first that a text does not hold. The first two keep ASCII narrow."""
JOINED_CHARACTERS = 48
"""As much of a text must follow a sign for the two to be taken as joined again."""
AROUND_CHARACTERS = 8
"""At most so many come with a sign that is a key of a JSON object: `, "` before it and `": ""` behind."""
COMPARED_CHARACTERS = 2**14


class Spot(NamedTuple):
    """Something of a conversation that ends: a tool, a block, or the part `part` of a tool's result, which has no
    region since it ends no block."""

    region: Region | None
    origin: Origin
    part: int | None = None


class Signed(NamedTuple):
    """`conversation` is the one given with the sign of `spots[n]`, the number n between two `frame`s, where that spot
    ends."""

    spots: tuple[Spot, ...]
    conversation: Conversation
    frame: str


class Place(NamedTuple):
    """A spot and how many characters of the prompt stand before its end."""

    spot: Spot
    characters: int


class Found(NamedTuple):
    """`is_whole` when the two texts joined again behind every sign and ended alike."""

    places: tuple[Place, ...]
    is_whole: bool


def free_frame(text: str) -> str | None:
    """What signs can be told by in `text`; `None` for one that holds all of `FRAMES`."""
    return next((frame for frame in FRAMES if frame not in text), None)


def signed(conversation: Conversation, frame: str, first: int = 0) -> Signed:
    """Every tool and block has a spot, and so has each part of a tool's result but the last. Without tools and what
    stands before message `first`, if that is not the first of all."""
    signer = _Signer(conversation, frame)
    tools = () if first else tuple(map(signer.tool, range(len(conversation.tools))))
    messages = tuple(map(signer.message, range(first, len(conversation.messages))))
    return Signed(tuple(signer.spots), replace(conversation, tools=tools, messages=messages), frame)


def places(text: str, signed_text: str, signed: Signed, known: Mapping[Spot, int] | None = None) -> Found:
    """The places of the spots in `text`, in its order. What a template leaves out has none.

    With `known` places, `signed_text` may be that of a conversation's end: the first sign of a known spot tells where
    in `text` it belongs, and only that spot and what comes behind it is found.
    """
    signs = [*re.finditer(f"{signed.frame}([0-9]{{1,9}}){signed.frame}", signed_text)]
    spots = [signed.spots[int(sign[1])] for sign in signs]
    first = 0 if known is None else next((n for n, spot in enumerate(spots) if spot in known), len(signs))
    found: list[Place] = []
    here = there = 0
    for number in range(first, len(signs)):
        sign, spot = signs[number], spots[number]
        if known is not None and number == first:
            here = known[spot]
        else:
            here += common_prefix(text, signed_text, here, there, sign.start())
        found.append(Place(spot, here))
        limit = signs[number + 1].start() if number + 1 < len(signs) else None
        joined = _joined(text, signed_text, here, sign.end(), limit)
        if joined is None:
            return Found(tuple(found), is_whole=False)
        there = joined
    return Found(tuple(found), is_whole=first < len(signs) and text[here:] == signed_text[there:])


def common_prefix(text: str, other: str, start: int = 0, other_start: int = 0, other_end: int | None = None) -> int:
    """How many characters of `text` from `start` on and of `other` from `other_start` to `other_end` are the same."""
    other_end = len(other) if other_end is None else other_end
    length = max(0, min(len(text) - start, other_end - other_start))
    same = 0
    while same < length:
        size = min(COMPARED_CHARACTERS, length - same)
        here, there = start + same, other_start + same
        if text[here : here + size] != other[there : there + size]:
            return same + _parting(text[here : here + size], other[there : there + size])
        same += size
    return length


def _parting(text: str, other: str) -> int:
    """The first character in which two texts of one length differ."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _joined(text: str, signed_text: str, here: int, end_of_sign: int, next_sign: int | None) -> int | None:
    """Where `signed_text` goes on as `text` does from `here`: behind the sign and the few characters of JSON that may
    come with it, as others may come with the next."""
    limit = len(signed_text) if next_sign is None else next_sign
    for start in range(end_of_sign, min(end_of_sign + AROUND_CHARACTERS, limit) + 1):
        end = min(start + JOINED_CHARACTERS, limit)
        missing = 0 if next_sign is None else AROUND_CHARACTERS
        if common_prefix(text, signed_text, here, start, end) >= end - start - missing:
            return start
    return None


class _Signer:
    def __init__(self, conversation: Conversation, frame: str) -> None:
        self.spots: list[Spot] = []
        self._conversation = conversation
        self._opening = opening_messages(conversation.messages)
        self._frame = frame

    def tool(self, number: int) -> Tool:
        """Templates write a name, then a description, then parameters. What a tool has none of would be another text
        altogether with a sign in it."""
        tool = self._conversation.tools[number]
        sign = self._sign(Spot(Region.TOOLS, Origin(tool=number)))
        if tool.parameters is not None:
            return replace(tool, parameters={**tool.parameters, sign: ""})
        if tool.description is not None:
            return replace(tool, description=tool.description + sign)
        return replace(tool, name=tool.name + sign)

    def message(self, number: int) -> Message:
        message = self._conversation.messages[number]
        blocks: list[Block] = []
        for position, block in enumerate(message.blocks):
            region = region_of(block, message.role, is_opening=number < self._opening)
            blocks += self._block(block, Spot(region, Origin(number, position)))
        return replace(message, blocks=tuple(blocks))

    def _block(self, block: Block, spot: Spot) -> tuple[Block, ...]:
        if isinstance(block, ToolResult):
            return (self._result(block, spot),)
        sign = self._sign(spot)
        if isinstance(block, ToolCall):
            return (replace(block, arguments=_longer_arguments(block.arguments, sign)),)
        if isinstance(block, Thinking):
            return (replace(block, text=block.text + sign) if block.text else block,)
        return _longer_part(block, sign)

    def _result(self, result: ToolResult, spot: Spot) -> ToolResult:
        content: list[Text | Image | Document] = []
        for position, part in enumerate(result.content[:-1]):
            content += _longer_part(part, self._sign(Spot(None, spot.origin, position)))
        sign = self._sign(spot)
        content += _longer_part(result.content[-1], sign) if result.content else (Text(sign),)
        return replace(result, content=tuple(content))

    def _sign(self, spot: Spot) -> str:
        self.spots.append(spot)
        return f"{self._frame}{len(self.spots) - 1}{self._frame}"


def _longer_part(part: Text | Image | Document, sign: str) -> tuple[Text | Image | Document, ...]:
    return (part, Text(sign)) if isinstance(part, Image) else (replace(part, text=part.text + sign),)


def _longer_arguments(arguments: str, sign: str) -> str:
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = None
    return json.dumps({**parsed, sign: ""}, ensure_ascii=False) if isinstance(parsed, dict) else arguments + sign
