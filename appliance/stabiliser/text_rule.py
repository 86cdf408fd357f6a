"""Rules that take text out of the system prompt, and put it where it does no harm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from appliance.conversation import Conversation, Message, Text
from appliance.stabiliser.editing import (
    Place,
    count_leading_system,
    rewrite,
    with_reminder_at_end,
    with_reminder_at_start,
)
from appliance.stabiliser.finding import Finder, Span, outside_fences
from appliance.stabiliser.rule import Action, Change, Stabilised, excerpt


class Fate(Enum):
    """What becomes of text that a rule finds."""

    REMOVED = "it means nothing to a model"
    TO_START = "to the first user message: it stays as it is for a session"
    TO_END = "behind everything: it may be another with every request"


class Cut(NamedTuple):
    place: Place
    found: tuple[str, ...]
    rest: str


@dataclass(frozen=True, slots=True)
class TextRule:
    """Looks at the text of the system messages that open a conversation, and at nothing else.

    Text stays where it is when there is no message to move it to, or nothing else in the whole conversation.
    """

    name: str
    find: Finder
    fate: Fate

    def apply(self, conversation: Conversation) -> Stabilised:
        cuts = self._cuts(conversation.messages)
        if not cuts:
            return Stabilised(conversation)
        messages = rewrite(conversation.messages, {cut.place: cut.rest for cut in cuts})
        placed = self._place(messages, "\n".join(text.strip() for cut in cuts for text in cut.found))
        if placed is None:
            return Stabilised(conversation)
        return Stabilised(replace(conversation, messages=placed), tuple(self._changes(cuts)))

    def _cuts(self, messages: tuple[Message, ...]) -> list[Cut]:
        cuts: list[Cut] = []
        for number, message in enumerate(messages[: count_leading_system(messages)]):
            for position, block in enumerate(message.blocks):
                if isinstance(block, Text):
                    spans = tuple(outside_fences(block.text, self.find(block.text)))
                    if spans:
                        cuts.append(_cut(Place(number, position), block.text, spans))
        return cuts

    def _place(self, messages: tuple[Message, ...], text: str) -> tuple[Message, ...] | None:
        if self.fate is Fate.TO_START:
            return with_reminder_at_start(messages, text)
        if self.fate is Fate.TO_END:
            return with_reminder_at_end(messages, text)
        return messages or None

    def _changes(self, cuts: Iterable[Cut]) -> Iterable[Change]:
        action = Action.REMOVED if self.fate is Fate.REMOVED else Action.MOVED
        for cut in cuts:
            for text in cut.found:
                yield Change(self.name, action, str(cut.place), excerpt(text), len(text))


def _cut(place: Place, text: str, spans: tuple[Span, ...]) -> Cut:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    rest = "".join(text[edges[n] : edges[n + 1]] for n in range(0, len(edges), 2))
    return Cut(place, tuple(text[span.start : span.end] for span in spans), rest)
