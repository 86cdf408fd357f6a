"""Changing blocks of a conversation without losing cache marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from appliance.conversation import Block, CacheMark, Message, Role, Text, ToolResult

SYSTEM_ROLES = frozenset({Role.SYSTEM, Role.DEVELOPER})
REMINDER_START, REMINDER_END = "<system-reminder>", "</system-reminder>"


class Place(NamedTuple):
    message: int
    block: int

    def __str__(self) -> str:
        return f"messages[{self.message}].blocks[{self.block}]"


def count_leading_system(messages: Sequence[Message]) -> int:
    """How many messages stand before the first that is not the system's."""
    return next((n for n, message in enumerate(messages) if message.role not in SYSTEM_ROLES), len(messages))


def rewrite(messages: tuple[Message, ...], texts: Mapping[Place, str]) -> tuple[Message, ...]:
    """Gives text blocks a new text. Blocks without any are dropped, and messages with all of their blocks.

    The mark of a dropped block goes to the block before it: the prefix that is to be kept now ends there.
    """
    touched = {place.message for place in texts}
    kept: list[Message] = []
    for number, message in enumerate(messages):
        if number not in touched:
            kept.append(message)
            continue
        blocks: list[Block] = []
        for position, block in enumerate(message.blocks):
            text = texts.get(Place(number, position))
            if text is None or not isinstance(block, Text):
                blocks.append(block)
            elif text.strip():
                blocks.append(replace(block, text=text))
            elif blocks:
                blocks[-1] = _marked(blocks[-1], block.mark)
            elif kept:
                kept[-1] = _last_marked(kept[-1], block.mark)
        if blocks:
            kept.append(replace(message, blocks=tuple(blocks)))
    return tuple(kept)


def with_reminder_at_start(messages: tuple[Message, ...], text: str) -> tuple[Message, ...] | None:
    """Adds `text` to the first user message, behind the reminders it begins with; `None` without such a message.

    That place is the same in every turn, and behind system text and tools whatever order a template gives them.
    """
    for number, message in enumerate(messages):
        if message.role is Role.USER and not any(isinstance(block, ToolResult) for block in message.blocks):
            position = next((n for n, block in enumerate(message.blocks) if not _is_reminder(block)), None)
            before = message.blocks[:position]
            blocks = (*before, Text(f"{_reminder(text)}\n"), *message.blocks[len(before) :])
            return (*messages[:number], replace(message, blocks=blocks), *messages[number + 1 :])
    return None


def with_reminder_at_end(messages: tuple[Message, ...], text: str) -> tuple[Message, ...] | None:
    """Adds `text` behind everything but an answer that has been begun; `None` when that is all system text.

    A tool's result takes it in: many templates refuse a user message between it and the answer.
    """
    first = count_leading_system(messages)
    for number in range(len(messages) - 1, first - 1, -1):
        message = messages[number]
        if message.role is not Role.ASSISTANT:
            blocks = _with_last(message.blocks, Text(f"\n{_reminder(text)}"))
            return (*messages[:number], replace(message, blocks=blocks), *messages[number + 1 :])
    return None


def _reminder(text: str) -> str:
    """Marks a text as none of the speaker's. Callers set it off with a line break: blocks are joined without any."""
    return f"{REMINDER_START}\n{text}\n{REMINDER_END}"


def _with_last(blocks: tuple[Block, ...], text: Text) -> tuple[Block, ...]:
    if blocks and isinstance(result := blocks[-1], ToolResult):
        return (*blocks[:-1], replace(result, content=(*result.content, text)))
    return (*blocks, text)


def _is_reminder(block: Block) -> bool:
    if not isinstance(block, Text):
        return False
    # The ends are enough, and a strip would copy a long text.
    starts = block.text[:64].lstrip().startswith(REMINDER_START)
    return starts and block.text[-64:].rstrip().endswith(REMINDER_END)


def _last_marked(message: Message, mark: CacheMark | None) -> Message:
    if not message.blocks:
        return message
    return replace(message, blocks=(*message.blocks[:-1], _marked(message.blocks[-1], mark)))


def _marked(block: Block, mark: CacheMark | None) -> Block:
    """Of two marks the longer one stays."""
    if mark is None or (block.mark is not None and block.mark.ttl_seconds >= mark.ttl_seconds):
        return block
    return replace(block, mark=mark)
