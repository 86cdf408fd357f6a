"""Makes the edits of `context_management`: a conversation without what its client wants to have cleared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from appliance.api.context_edits import ClearThinking, ClearToolUses, Edit
from appliance.conversation import Block, Conversation, Message, Role, Text, Thinking, ToolCall, ToolResult

CLEARED_RESULT: Final = (Text("[This tool result was cleared to save context.]"),)
CLEARED_INPUT: Final = "{}"

CountTokens = Callable[[Conversation], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Applied:
    """An edit that was made: `cleared` are tool calls or turns, as its kind says."""

    edit: Edit
    cleared: int
    cleared_tokens: int


class Cleared(NamedTuple):
    """`original_tokens` are those of the prompt before any edit; `None` where nothing had to be counted."""

    conversation: Conversation
    applied: tuple[Applied, ...] = ()
    original_tokens: int | None = None


async def apply_edits(conversation: Conversation, edits: Iterable[Edit], count_tokens: CountTokens) -> Cleared:
    """Make the edits one after the other, each on what the ones before it left. Counts tokens only where an edit could
    clear something: a count costs as much as a render. Raises what `count_tokens` raises."""
    applied: list[Applied] = []
    original_tokens = tokens = None
    for edit in edits:
        candidate, num_cleared = _without(conversation, edit)
        if num_cleared == 0:
            continue
        if tokens is None:
            original_tokens = tokens = await count_tokens(conversation)
        if isinstance(edit, ClearToolUses) and edit.trigger_tokens is not None and tokens <= edit.trigger_tokens:
            continue
        left = await count_tokens(candidate)
        if isinstance(edit, ClearToolUses) and tokens - left < edit.at_least_tokens:
            continue
        applied.append(Applied(edit, num_cleared, max(0, tokens - left)))
        conversation, tokens = candidate, left
    return Cleared(conversation, tuple(applied), original_tokens)


def _without(conversation: Conversation, edit: Edit) -> tuple[Conversation, int]:
    """The edited conversation and how much was cleared: 0 for none of it, and then the conversation is the same."""
    if isinstance(edit, ClearThinking):
        messages, num_cleared = without_thinking(conversation.messages, edit)
    else:
        messages, num_cleared = without_tool_uses(conversation.messages, edit)
    return (replace(conversation, messages=messages) if num_cleared else conversation), num_cleared


def without_thinking(messages: tuple[Message, ...], edit: ClearThinking) -> tuple[tuple[Message, ...], int]:
    """A turn goes from one question of the user to the next; tool calls and their results do not end it."""
    turns: list[list[int]] = []
    begun = False
    for position, message in enumerate(messages):
        if message.role is Role.USER and not any(isinstance(block, ToolResult) for block in message.blocks):
            begun = False
        if any(isinstance(block, Thinking) for block in message.blocks):
            if not begun:
                turns.append([])
            begun = True
            turns[-1].append(position)
    old = turns[: -edit.keep_turns]
    positions = {position for turn in old for position in turn}
    return (
        tuple(_thoughtless(message) if position in positions else message for position, message in enumerate(messages)),
        len(old),
    )


def without_tool_uses(messages: tuple[Message, ...], edit: ClearToolUses) -> tuple[tuple[Message, ...], int]:
    calls = [block for message in messages for block in message.blocks if isinstance(block, ToolCall)]
    results = [block for message in messages for block in message.blocks if isinstance(block, ToolResult)]
    if edit.trigger_uses is not None and len(calls) <= edit.trigger_uses:
        return messages, 0
    clearable = {call.id for call in calls if call.name not in edit.exclude}
    old = results[: max(0, len(results) - edit.keep)]
    cleared = {result.call_id for result in old if result.call_id in clearable and result.content != CLEARED_RESULT}
    if not cleared:
        return messages, 0
    return tuple(_forgetful(message, cleared, edit) for message in messages), len(cleared)


def _thoughtless(message: Message) -> Message:
    return replace(message, blocks=tuple(block for block in message.blocks if not isinstance(block, Thinking)))


def _forgetful(message: Message, cleared: set[str], edit: ClearToolUses) -> Message:
    if not any(isinstance(block, ToolCall | ToolResult) for block in message.blocks):
        return message
    return replace(message, blocks=tuple(_forgotten(block, cleared, edit) for block in message.blocks))


def _forgotten(block: Block, cleared: set[str], edit: ClearToolUses) -> Block:
    if isinstance(block, ToolResult) and block.call_id in cleared:
        mark = next((part.mark for part in reversed(block.content) if part.mark is not None), None)
        return replace(block, content=CLEARED_RESULT, mark=block.mark or mark)
    if isinstance(block, ToolCall) and block.id in cleared and (edit.inputs_of is None or block.name in edit.inputs_of):
        return replace(block, arguments=CLEARED_INPUT)
    return block
