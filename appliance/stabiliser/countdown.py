"""System messages that count down the tokens of a hosted service's budget, which nobody has here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from appliance.conversation import Conversation, Text
from appliance.stabiliser.editing import SYSTEM_ROLES, Place, rewrite
from appliance.stabiliser.finding import Span
from appliance.stabiliser.rule import Action, Change, Stabilised, excerpt

MAX_CHARACTERS = 200

_COUNTDOWN = re.compile(
    r"\s*(?:<system-reminder>\s*)?<total_tokens>\s*[\d,]+ tokens left\s*</total_tokens>\s*(?:</system-reminder>\s*)?"
)


@dataclass(frozen=True, slots=True)
class CountdownRule:
    """Removes blocks that hold such a count alone, from system messages anywhere."""

    name: str

    def apply(self, conversation: Conversation) -> Stabilised:
        found = {
            Place(number, position): block.text
            for number, message in enumerate(conversation.messages)
            if message.role in SYSTEM_ROLES
            for position, block in enumerate(message.blocks)
            if isinstance(block, Text) and _is_countdown(block.text)
        }
        messages = rewrite(conversation.messages, dict.fromkeys(found, ""))
        if not found or not messages:
            return Stabilised(conversation)
        changes = (
            Change(self.name, Action.REMOVED, str(place), excerpt(text), len(text)) for place, text in found.items()
        )
        return Stabilised(replace(conversation, messages=messages), tuple(changes))


def find_countdowns(text: str) -> Iterator[Span]:
    """Wherever they stand, alone in their block or not."""
    return (Span(*found.span()) for found in _COUNTDOWN.finditer(text))


def _is_countdown(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and _COUNTDOWN.fullmatch(text) is not None


TOKEN_COUNTDOWN = CountdownRule("token_countdown")
