"""Places of a conversation's blocks in the tokens of its prompt: which region each token is part of, and what the
client's cache marks mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.conversation import CacheMark, Conversation, ToolResult
from appliance.engine.places import Spot
from appliance.engine.segments import Anchor
from appliance.generation import MarkedPrefix


class Placed(NamedTuple):
    """A spot, and how many characters and tokens of the prompt stand before its end. From `anchor` on tokens can be
    counted without those before."""

    spot: Spot
    characters: int
    tokens: int
    anchor: Anchor = Anchor()


def region_map(placed: Sequence[Placed], prompt_tokens: int) -> RegionMap:
    """The regions of a prompt whose spots are `placed` in its order. What a template writes before a block belongs to
    it, what it writes behind the last belongs to that."""
    spans: list[Span] = []
    start = 0
    for spot, _, end, _ in placed:
        if spot.region is not None and start < end <= prompt_tokens:
            spans.append(Span(start, end, spot.region, spot.origin))
            start = end
    if not spans:
        return RegionMap([Span(0, prompt_tokens, Region.USER)] if prompt_tokens else ())
    return RegionMap([*spans[:-1], spans[-1]._replace(end=prompt_tokens)])


def marked_prefixes(placed: Sequence[Placed], conversation: Conversation) -> tuple[MarkedPrefix, ...]:
    """What ends at the marks, in the order of the prompt. A mark on the last part of a tool's result is one on the
    result; the longer one of the two counts."""
    marks = dict(_marks(conversation))
    found = ((each.tokens, marks.get((each.spot.origin, each.spot.part))) for each in placed if marks)
    return tuple(MarkedPrefix(tokens, mark.ttl_seconds) for tokens, mark in found if mark is not None)


def _marks(conversation: Conversation) -> Iterator[tuple[tuple[Origin, int | None], CacheMark]]:
    for number, tool in enumerate(conversation.tools):
        if tool.mark is not None:
            yield (Origin(tool=number), None), tool.mark
    for number, message in enumerate(conversation.messages):
        for position, block in enumerate(message.blocks):
            origin = Origin(number, position)
            if isinstance(block, ToolResult):
                yield from _marks_of_result(block, origin)
            elif block.mark is not None:
                yield (origin, None), block.mark


def _marks_of_result(result: ToolResult, origin: Origin) -> Iterator[tuple[tuple[Origin, int | None], CacheMark]]:
    for position, part in enumerate(result.content[:-1]):
        if part.mark is not None:
            yield (origin, position), part.mark
    at_end = [mark for mark in (result.mark, *(part.mark for part in result.content[-1:])) if mark is not None]
    if at_end:
        yield (origin, None), max(at_end, key=lambda mark: mark.ttl_seconds)
