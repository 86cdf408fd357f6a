"""Heads: the system text and tools that a conversation opens with, and how many sessions have each."""

from __future__ import annotations

from collections import Counter

from appliance.cache.errors import IntegrityError
from appliance.cache.outline import opening_messages
from appliance.conversation import Conversation, Text

Head = int
"""Equal for conversations that open with the same text and with tools of the same names and descriptions, whatever
their marks; different for others, but for one pair in 2⁶⁴."""


def head_of(conversation: Conversation) -> Head | None:
    """`None` without system text and tools."""
    opening = conversation.messages[: opening_messages(conversation.messages)]
    if not opening and not conversation.tools:
        return None
    tools = tuple((tool.name, tool.description) for tool in conversation.tools)
    texts = tuple(block.text for message in opening for block in message.blocks if isinstance(block, Text))
    return hash((tools, texts))


class Heads:
    """How many sessions have each head now."""

    def __init__(self) -> None:
        self._num_sessions: Counter[Head] = Counter()

    def add(self, head: Head | None) -> None:
        """One session more has this head. No-op for `None`."""
        if head is not None:
            self._num_sessions[head] += 1

    def remove(self, head: Head | None) -> None:
        """One session less, of those added. No-op for `None`."""
        if head is None:
            return
        self._num_sessions[head] -= 1
        if not self._num_sessions[head]:
            del self._num_sessions[head]

    def has_others(self, head: Head | None, own: int) -> bool:
        """Whether sessions have it besides `own` of those that were added."""
        return head is not None and self._num_sessions[head] > own

    def check_integrity(self, heads: Counter[Head]) -> None:
        """Raises `IntegrityError` unless the sessions have just these heads."""
        if self._num_sessions != heads:
            raise IntegrityError(f"{self._num_sessions.total()} heads are counted, sessions have {heads.total()}")
