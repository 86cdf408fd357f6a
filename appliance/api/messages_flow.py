"""Deltas → the steps of content blocks, in the order of the messages API: one block is open at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from appliance.api.messages_bodies import (
    BlockBody,
    BlockDelta,
    BlockStart,
    BlockStop,
    DeltaBody,
    InputDelta,
    SignatureDelta,
    Step,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from appliance.api.tool_input import NO_INPUT, ToolInput
from appliance.errors import GenerationFailed
from appliance.generation import Delta, ToolCallDelta

ID_PREFIX: Final = "toolu_"
ENGINE_PREFIXES: Final = ("chatcmpl-tool-", "call_")
NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_-]")


def tool_use_id(call_id: str) -> str:
    """The id that a client sees: the same for the same call, with only characters that the protocol knows."""
    for prefix in ENGINE_PREFIXES:
        call_id = call_id.removeprefix(prefix)
    return ID_PREFIX + NOT_IN_IDS.sub("_", call_id.removeprefix(ID_PREFIX))


@dataclass(slots=True, eq=False)
class Call:
    """One tool call. `waiting` is what came while another call was open."""

    id: str
    name: str
    input: ToolInput = field(default_factory=ToolInput)
    waiting: list[str] = field(default_factory=list)
    is_open: bool = False


class BlockFlow:
    """Reads one answer. `sign` makes the signature of a thought; with `hides_thinking` that is all that is sent of it.

    Blanks alone are no block. A call whose pieces come between those of an earlier one waits for its end.
    """

    def __init__(self, sign: Callable[[str], str], *, hides_thinking: bool = False) -> None:
        self._sign = sign
        self._hides_thinking = hides_thinking
        self._index = -1
        self._thoughts: list[str] | None = None
        self._in_text = False
        self._blanks = ""
        self._blank_thoughts = ""
        self._calls: dict[int, Call] = {}
        self._queue: list[Call] = []

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def add(self, delta: Delta) -> Iterator[Step]:
        """Raises `GenerationFailed` for a piece of a call that was closed before it was complete."""
        if delta.thinking:
            yield from self._think(delta.thinking)
        if delta.text:
            yield from self._say(delta.text)
        for piece in delta.tool_calls:
            self._take(piece)
        if delta.tool_calls:
            yield from self._call()

    def end(self) -> Iterator[Step]:
        yield from self._close_calls()
        yield from self._close_spoken()

    def check_integrity(self) -> None:
        num_open = (self._thoughts is not None) + self._in_text + sum(call.is_open for call in self._calls.values())
        if num_open > 1 or any(call.is_open for call in self._queue[1:]):
            raise AssertionError(f"{num_open} blocks are open")

    def _think(self, thinking: str) -> Iterator[Step]:
        if self._thoughts is None:
            self._blank_thoughts += thinking
            if self._blank_thoughts.isspace():
                return
            thinking, self._blank_thoughts, self._blanks = self._blank_thoughts, "", ""
            yield from self._close_calls()
            yield from self._close_spoken()
            self._thoughts = []
            yield self._start(ThinkingBlock("", ""))
        self._thoughts.append(thinking)
        if not self._hides_thinking:
            yield self._grow(ThinkingDelta(thinking))

    def _say(self, text: str) -> Iterator[Step]:
        if not self._in_text:
            self._blanks += text
            if self._blanks.isspace():
                return
            text, self._blanks = self._blanks, ""
            yield from self._close_calls()
            yield from self._close_spoken()
            self._in_text = True
            yield self._start(TextBlock(""))
        yield self._grow(TextDelta(text))

    def _take(self, piece: ToolCallDelta) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            call = Call(tool_use_id(piece.id or f"{piece.index}"), piece.name or "")
            self._calls[piece.index] = call
            self._queue.append(call)
        elif call not in self._queue:
            if not call.input.is_complete:
                raise GenerationFailed("a tool call went on after other content had begun", code="tool_call_torn")
            return
        call.waiting.append(piece.arguments)

    def _call(self) -> Iterator[Step]:
        """Send what can be sent of the first call; when it is complete and another one waits, go on to that."""
        self._blanks = ""
        while self._queue:
            call = self._queue[0]
            if not call.is_open:
                yield from self._close_spoken()
                yield self._start(ToolUseBlock(call.id, call.name, NO_INPUT))
                call.is_open = True
            piece = call.input.add("".join(call.waiting))
            call.waiting.clear()
            if piece:
                yield self._grow(InputDelta(piece))
            if len(self._queue) == 1 or not call.input.is_complete:
                return
            yield from self._close_call()

    def _close_calls(self) -> Iterator[Step]:
        while self._queue:
            yield from self._close_call()
            yield from self._call()

    def _close_call(self) -> Iterator[Step]:
        call = self._queue.pop(0)
        call.is_open = False
        rest = call.input.end()
        if rest:
            yield self._grow(InputDelta(rest))
        yield BlockStop(self._index)

    def _close_spoken(self) -> Iterator[Step]:
        """Close the thought or the text that is open; no-op when neither is."""
        if self._thoughts is not None:
            thought = "".join(self._thoughts)
            self._thoughts = None
            yield self._grow(SignatureDelta(self._sign(thought)))
            yield BlockStop(self._index)
        elif self._in_text:
            self._in_text = False
            yield BlockStop(self._index)

    def _start(self, block: BlockBody) -> BlockStart:
        self._index += 1
        return BlockStart(self._index, block)

    def _grow(self, delta: DeltaBody) -> BlockDelta:
        return BlockDelta(self._index, delta)
