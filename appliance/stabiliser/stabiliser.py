"""Applies rules to a conversation before it is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.conversation import Conversation, Text
from appliance.stabiliser.editing import SYSTEM_ROLES
from appliance.stabiliser.rule import Change, Rule, Stabilised

MAX_PARTS: Final = 2**14
MAX_SYSTEM_CHARACTERS: Final = 2**18
"""Measured: 436,000 take the rules 8 ms, and meanwhile the loop waits."""
BLOCK_CHARACTERS: Final = 64
"""A block takes as long as so many characters, whatever it holds."""


class Stabiliser:
    """Holds no state: a conversation's next turn is changed like this one, so its prefix stays the same."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    @property
    def rules(self) -> frozenset[str]:
        """The names of those that are on."""
        return frozenset(rule.name for rule in self._rules)

    def apply(self, conversation: Conversation) -> Stabilised:
        """Applies every rule in turn. Without anything to do, the conversation given is returned, and so is one that no
        agent sends: of more than `MAX_PARTS` messages and tools, or `MAX_SYSTEM_CHARACTERS` told by the system."""
        if _is_beyond_measure(conversation):
            return Stabilised(conversation)
        changes: list[Change] = []
        for rule in self._rules:
            conversation, made = rule.apply(conversation)
            changes += made
        return Stabilised(conversation, tuple(changes))


def _is_beyond_measure(conversation: Conversation) -> bool:
    if len(conversation.messages) + len(conversation.tools) > MAX_PARTS:
        return True
    characters = 0
    for message in conversation.messages:
        for block in message.blocks if message.role in SYSTEM_ROLES else ():
            characters += BLOCK_CHARACTERS + (len(block.text) if isinstance(block, Text) else 0)
            if characters > MAX_SYSTEM_CHARACTERS:
                return True
    return False
