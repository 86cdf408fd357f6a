"""Messages API, answer side: events → the events of a stream, or one message.

Both are made of the same steps: the stream, put together as a client does, is the whole message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import json

from appliance.api import sse
from appliance.api.messages_answer import Answer
from appliance.api.messages_bodies import (
    BlockBody,
    BlockDelta,
    BlockStart,
    EventBody,
    InputDelta,
    MessageBody,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    Step,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    UsageBody,
)
from appliance.api.tool_input import input_json
from appliance.generation import Delta, Event, Started


class StreamReply:
    """An answer as server-sent events: start, ping, the blocks, and the stop with the final usage."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return b"".join(map(event_frame, self._answer.steps(event)))
        if isinstance(event, Started):
            self._answer.start(event)
            return event_frame(MessageStart(self._opening())) + PING
        self._answer.finish(event)
        return event_frame(self._closing())

    def end(self) -> bytes:
        return STOP

    def _opening(self) -> MessageBody:
        answer = self._answer
        return MessageBody(
            id=answer.stamp.id,
            model=answer.request.conversation.model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=answer.usage_at_start(),
            diagnostics=answer.diagnostics(),
        )

    def _closing(self) -> MessageDelta:
        answer = self._answer
        return MessageDelta(answer.stop(), answer.final_usage(), answer.context(), answer.nvext())


class WholeReply:
    """An answer as one JSON body."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._blocks: list[BlockDraft] = []

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            self._fold(self._answer.steps(event))
        elif isinstance(event, Started):
            self._answer.start(event)
        else:
            self._answer.finish(event)
        return b""

    def end(self) -> bytes:
        answer = self._answer
        stop, start, final = answer.stop(), answer.usage_at_start(), answer.final_usage()
        usage = UsageBody(
            start.input_tokens,
            start.cache_creation_input_tokens,
            start.cache_read_input_tokens,
            start.cache_creation,
            final.output_tokens,
            final.output_tokens_details,
        )
        return json.encode(
            MessageBody(
                id=answer.stamp.id,
                model=answer.request.conversation.model,
                content=[block.body() for block in self._blocks],
                stop_reason=stop.stop_reason,
                stop_sequence=stop.stop_sequence,
                usage=usage,
                diagnostics=answer.diagnostics(),
                context_management=answer.context(),
                nvext=answer.nvext(),
            )
        )

    def _fold(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, BlockStart):
                self._blocks.append(BlockDraft(step.content_block))
            elif isinstance(step, BlockDelta):
                self._blocks[step.index].add(step)


class BlockDraft:
    """A block and the pieces that came for it."""

    __slots__ = ("_block", "_pieces", "_signature")

    def __init__(self, block: BlockBody) -> None:
        self._block = block
        self._pieces: list[str] = []
        self._signature = ""

    def add(self, step: BlockDelta) -> None:
        delta = step.delta
        if isinstance(delta, SignatureDelta):
            self._signature = delta.signature
        elif isinstance(delta, TextDelta):
            self._pieces.append(delta.text)
        elif isinstance(delta, ThinkingDelta):
            self._pieces.append(delta.thinking)
        elif isinstance(delta, InputDelta):
            self._pieces.append(delta.partial_json)

    def body(self) -> BlockBody:
        text = "".join(self._pieces)
        if isinstance(self._block, TextBlock):
            return TextBlock(text)
        if isinstance(self._block, ThinkingBlock):
            return ThinkingBlock(text, self._signature)
        return type(self._block)(self._block.id, self._block.name, input_json(text))


def event_frame(body: EventBody) -> bytes:
    """The event's name is the type of its body."""
    return sse.named_frame(str(body.__struct_config__.tag).encode(), json.encode(body))


PING: Final = event_frame(Ping())
STOP: Final = event_frame(MessageStop())
