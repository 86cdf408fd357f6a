"""Finding where the blocks of a conversation end in its prompt, asking the template about what is new only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from appliance.conversation import Conversation, Message, Role, ToolResult
from appliance.engine.place_book import PlaceBook
from appliance.engine.placed import Placed
from appliance.engine.places import Place, free_frame, places, signed
from appliance.engine.segments import Anchor, SegmentTokenizer

TextOf = Callable[[Conversation], str | None]
"""The prompt of a conversation as text; `None` where the template refuses it or does not tell."""


class Locator:
    """Knows the places of recent prompts. Of a next turn it has only the end rendered with signs, and takes what it
    finds there only when that is the end of the prompt to the letter, but for the signs; else it asks about the whole.

    `asked_end` and `asked_whole` count what was rendered. Thread-safe.
    """

    def __init__(self, segments: SegmentTokenizer, book: PlaceBook | None = None) -> None:
        self._segments = segments
        self.book = PlaceBook() if book is None else book
        self.asked_end = 0
        self.asked_whole = 0

    def locate(self, conversation: Conversation, text: str, text_of: TextOf) -> tuple[Placed, ...] | None:
        """The places in the prompt `text`, in its order; `None` where they cannot be known."""
        frame = free_frame(text)
        if frame is None:
            return None
        placed = self._by_end(conversation, text, text_of, frame)
        if placed is None:
            placed = self._by_whole(conversation, text, text_of, frame)
        if placed is not None:
            self.book.keep(conversation, text, placed)
        return placed

    def _by_end(self, conversation: Conversation, text: str, text_of: TextOf, frame: str) -> tuple[Placed, ...] | None:
        """`None` where the end alone does not tell."""
        known = self.book.find(conversation, text)
        first = _first_to_ask(conversation.messages, known)
        if not first:
            return None
        self.asked_end += 1
        asked = signed(conversation, frame, first)
        question = _question_before(conversation.messages, first)
        signed_text = text_of(replace(asked.conversation, messages=(*question, *asked.conversation.messages)))
        if signed_text is None:
            return None
        found = places(text, signed_text, asked, {placed.spot: placed.characters for placed in known})
        if not found.is_whole:
            return None
        joint = found.places[0].spot
        kept = tuple(takewhile(lambda placed: placed.spot != joint, known))
        return (*kept, *self._counted(text, found.places, known[len(kept)].anchor))

    def _by_whole(
        self, conversation: Conversation, text: str, text_of: TextOf, frame: str
    ) -> tuple[Placed, ...] | None:
        self.asked_whole += 1
        asked = signed(conversation, frame)
        signed_text = text_of(asked.conversation)
        if signed_text is None:
            return None
        return self._counted(text, places(text, signed_text, asked).places)

    def _counted(self, text: str, found: Sequence[Place], start: Anchor | None = None) -> tuple[Placed, ...]:
        counts = self._segments.counts(text, [place.characters for place in found], start or Anchor())
        return tuple(Placed(*place, *count) for place, count in zip(found, counts, strict=True))


def _first_to_ask(messages: Sequence[Message], known: Sequence[Placed]) -> int:
    """The message at or before the last known place that a conversation may begin with, when a question is put before
    an answer: templates want turns to alternate and results to have calls. 0 when there is none behind the first."""
    last = (known[-1].spot.origin.message or 0) if known else 0
    return next((n for n in range(last, 0, -1) if messages[n].role is Role.ASSISTANT or _is_question(messages[n])), 0)


def _question_before(messages: Sequence[Message], first: int) -> tuple[Message, ...]:
    """What the answer `first` is an answer to: templates treat what comes behind the last question in a way of its
    own."""
    if _is_question(messages[first]):
        return ()
    return tuple(message for message in reversed(messages[:first]) if _is_question(message))[:1]


def _is_question(message: Message) -> bool:
    return message.role is Role.USER and not any(isinstance(block, ToolResult) for block in message.blocks)
