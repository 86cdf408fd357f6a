"""What a rule is, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from appliance.conversation import Conversation

EXCERPT_CHARACTERS = 80


class Action(StrEnum):
    REMOVED = "removed"
    MOVED = "moved"
    SORTED = "sorted"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing a rule did. `place` is where the text stood in the conversation as the rule got it.

    `excerpt` is the start of that text in one line of at most 80 characters, `characters` its whole length.
    """

    rule: str
    action: Action
    place: str
    excerpt: str
    characters: int


class Stabilised(NamedTuple):
    """The same object as was given and no changes, when there was nothing to do."""

    conversation: Conversation
    changes: tuple[Change, ...] = ()


class Rule(Protocol):
    """A pure function. The same conversation gives the same result, and its own result gives that result again."""

    @property
    def name(self) -> str:
        """The key of the table `[stabiliser]` that switches the rule."""
        ...

    def apply(self, conversation: Conversation) -> Stabilised: ...


def excerpt(text: str) -> str:
    """The start of `text`, its white space made single blanks, in at most 80 characters."""
    line = " ".join(text[: 4 * EXCERPT_CHARACTERS].split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1] + "…"
