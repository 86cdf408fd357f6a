"""Responses, answer side: the events of a stream and their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec

from msgspec import Raw, Struct, json

from appliance.api import sse
from appliance.api.responses_bodies import ItemBody, LogprobBody, OutputText, ReasoningText, SummaryText

Values = ParamSpec("Values")


class StreamEvent(Struct, frozen=True):
    """Every event has its own `type`, which is also the name of its frame."""

    sequence_number: int


class LifeCycle(StreamEvent, frozen=True):
    """`response.created` and its like: `response` is the whole response at that time."""

    type: str
    response: Raw


class ItemAdded(StreamEvent, frozen=True):
    output_index: int
    item: ItemBody
    type: str = "response.output_item.added"


class ItemDone(StreamEvent, frozen=True):
    output_index: int
    item: ItemBody
    type: str = "response.output_item.done"


class PartAdded(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    part: OutputText | ReasoningText
    content_index: int = 0
    type: str = "response.content_part.added"


class PartDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    part: OutputText | ReasoningText
    content_index: int = 0
    type: str = "response.content_part.done"


class TextDelta(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    delta: str
    logprobs: list[LogprobBody]
    content_index: int = 0
    type: str = "response.output_text.delta"


class TextDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    text: str
    logprobs: list[LogprobBody]
    content_index: int = 0
    type: str = "response.output_text.done"


class ReasoningDelta(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    delta: str
    content_index: int = 0
    type: str = "response.reasoning_text.delta"


class ReasoningDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    text: str
    content_index: int = 0
    type: str = "response.reasoning_text.done"


class SummaryPartAdded(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    part: SummaryText
    summary_index: int = 0
    type: str = "response.reasoning_summary_part.added"


class SummaryPartDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    part: SummaryText
    summary_index: int = 0
    type: str = "response.reasoning_summary_part.done"


class SummaryDelta(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    delta: str
    summary_index: int = 0
    type: str = "response.reasoning_summary_text.delta"


class SummaryDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    text: str
    summary_index: int = 0
    type: str = "response.reasoning_summary_text.done"


class ArgumentsDelta(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    delta: str
    type: str = "response.function_call_arguments.delta"


class ArgumentsDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    name: str
    arguments: str
    type: str = "response.function_call_arguments.done"


class InputDelta(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    delta: str
    type: str = "response.custom_tool_call_input.delta"


class InputDone(StreamEvent, frozen=True):
    item_id: str
    output_index: int
    input: str
    type: str = "response.custom_tool_call_input.done"


class ErrorEvent(StreamEvent, frozen=True):
    code: str | None
    message: str
    param: str | None
    type: str = "error"


EVENT_KINDS: Final = (
    LifeCycle,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    TextDelta,
    TextDone,
    ReasoningDelta,
    ReasoningDone,
    SummaryPartAdded,
    SummaryPartDone,
    SummaryDelta,
    SummaryDone,
    ArgumentsDelta,
    ArgumentsDone,
    InputDelta,
    InputDone,
    ErrorEvent,
)


class EventWriter:
    """Numbers the events of one answer and frames them. `log` is given every frame with its number.

    With `writes` off nothing is made and everything is empty: an answer that comes whole has no events.
    """

    def __init__(self, *, writes: bool, log: Callable[[int, bytes], None] | None = None) -> None:
        self._writes = writes
        self._log = log
        self._frames: list[bytes] = []
        self._next_number = 0

    def write(
        self,
        kind: Callable[Concatenate[int, Values], StreamEvent],
        *args: Values.args,
        **kwargs: Values.kwargs,
    ) -> None:
        """The next event: `kind` made of its number and these fields."""
        if not self._writes:
            return
        frame = frame_of(kind(self._next_number, *args, **kwargs))
        self._frames.append(frame)
        if self._log is not None:
            self._log(self._next_number, frame)
        self._next_number += 1

    def take(self) -> bytes:
        """The frames since the last call."""
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames


def frame_of(event: StreamEvent) -> bytes:
    name: str = event.type  # type: ignore[attr-defined]  # every kind of event has one
    return sse.named_frame(name.encode(), json.encode(event))
