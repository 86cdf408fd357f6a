"""Applies rules to a conversation before it is rendered."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.conversation import Conversation
from appliance.stabiliser.rule import Change, Rule, Stabilised


class Stabiliser:
    """Holds no state: a conversation's next turn is changed like this one, so its prefix stays the same."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def apply(self, conversation: Conversation) -> Stabilised:
        """Applies every rule in turn. Without anything to do, the conversation given is returned."""
        changes: list[Change] = []
        for rule in self._rules:
            conversation, made = rule.apply(conversation)
            changes += made
        return Stabilised(conversation, tuple(changes))
