"""What is known of a conversation's next prompt before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from appliance.conversation import (
    Block,
    Conversation,
    Message,
    OutputFormat,
    Role,
    Sampling,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from appliance.generation import Delta

PROBES = ("0", "?")
"""Two beginnings of what comes next. A template decides by what follows an answer whether its thoughts stay, so
something must follow; where the two prompts part, what is known ends."""


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class AnswerText:
    """One choice's answer, put together from its deltas."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _Call] = {}

    def add(self, delta: Delta) -> None:
        self._text.append(delta.text)
        self._thinking.append(delta.thinking)
        for piece in delta.tool_calls:
            call = self._calls.setdefault(piece.index, _Call())
            call.id, call.name = piece.id or call.id, piece.name or call.name
            call.arguments.append(piece.arguments)

    def message(self) -> Message:
        """As a client sends it back. Without blocks when nothing was said."""
        return Message(Role.ASSISTANT, tuple(self._blocks()))

    def _blocks(self) -> Iterator[Block]:
        if thinking := "".join(self._thinking):
            yield Thinking(thinking)
        if text := "".join(self._text):
            yield Text(text)
        for _, call in sorted(self._calls.items()):
            yield ToolCall(call.id, call.name, "".join(call.arguments))


def next_turns(conversation: Conversation, answer: Message) -> tuple[Conversation, ...]:
    """The conversation with its answer and, for each of `PROBES`, that as what follows: results of the tools that were
    called, or a question."""
    return tuple(
        replace(
            conversation,
            messages=(*conversation.messages, answer, *_following(answer, probe)),
            sampling=Sampling(max_tokens=1),
            output_format=OutputFormat(),
        )
        for probe in PROBES
    )


def common_prefix(first: list[int], second: list[int]) -> list[int]:
    """The tokens up to where two prompts part."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return first[:low]


def _following(answer: Message, probe: str) -> tuple[Message, ...]:
    calls = [block for block in answer.blocks if isinstance(block, ToolCall)]
    if not calls:
        return (Message(Role.USER, (Text(probe),)),)
    return tuple(Message(Role.TOOL, (ToolResult(call.id, (Text(probe),)),)) for call in calls)
