"""What is known of the prompts rendered last, so that a next turn need not ask again where its history's blocks end."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from appliance.conversation import Block, Conversation, Image, ToolCall, ToolResult
from appliance.engine.placed import Placed
from appliance.engine.places import common_prefix

MAX_BYTES: Final = 2**26
"""About eighty prompts of 100,000 tokens, of plain ASCII."""
PLACED_BYTES: Final = 400


class Record(NamedTuple):
    """A prompt, and the places in it up to the end of the first `num_messages` messages."""

    text: str
    num_messages: int
    placed: tuple[Placed, ...]

    @property
    def num_bytes(self) -> int:
        return sys.getsizeof(self.text) + PLACED_BYTES * len(self.placed)


class PlaceBook:
    """Places by the shape of the messages before the last one, which is what most often is another in the next turn.

    Two histories of one shape (the kinds and lengths of all blocks) whose prompts begin with the same text have the
    same places in that text: what is found is as true as if it were found anew. Keeps those used last, at most
    `max_bytes` of them. Thread-safe.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0
        self.forgotten = 0

    def find(self, conversation: Conversation, text: str) -> tuple[Placed, ...]:
        """Places that an earlier prompt had and that the prompt `text` of `conversation` has too, in its order."""
        record = self._longest(conversation)
        if record is None:
            return ()
        same = common_prefix(text, record.text)
        return tuple(takewhile(lambda placed: placed.characters <= same, record.placed))

    def keep(self, conversation: Conversation, text: str, placed: Sequence[Placed]) -> None:
        """A prompt that is too large for the book, or has no two messages, is not kept."""
        num_messages = len(conversation.messages) - 1
        before = tuple(each for each in placed if (each.spot.origin.message or 0) < num_messages)
        record = Record(text, num_messages, before)
        if num_messages < 1 or record.num_bytes > self._max_bytes:
            return
        *_, key = _shapes(conversation, num_messages)
        with self._lock:
            self._drop(key)
            self._records[key] = record
            self._num_bytes += record.num_bytes
            while self._num_bytes > self._max_bytes:
                self._drop(next(iter(self._records)))
                self.forgotten += 1

    def check_integrity(self) -> None:
        """Raises `AssertionError`. Does not mutate."""
        held = sum(record.num_bytes for record in self._records.values())
        if held != self._num_bytes or held > self._max_bytes:
            raise AssertionError(f"places: {held} bytes held, {self._num_bytes} counted of {self._max_bytes}")
        for record in self._records.values():
            ends = [placed.characters for placed in record.placed]
            if ends != sorted(ends) or (ends and ends[-1] > len(record.text)):
                raise AssertionError(f"places: not in the order of their prompt: {ends}")

    def _longest(self, conversation: Conversation) -> Record | None:
        """What is known of the most of its messages."""
        shapes = tuple(_shapes(conversation, len(conversation.messages)))
        with self._lock:
            key = next((shape for shape in reversed(shapes) if shape in self._records), None)
            self.hits += key is not None
            self.misses += key is None
            if key is None:
                return None
            self._records.move_to_end(key)
            return self._records[key]

    def _drop(self, key: int) -> None:
        record = self._records.pop(key, None)
        self._num_bytes -= 0 if record is None else record.num_bytes


def _shapes(conversation: Conversation, num_messages: int) -> Iterator[int]:
    """A number for the first message, one for the first two, and so on."""
    shape = hash(tuple(tool.name for tool in conversation.tools))
    for message in conversation.messages[:num_messages]:
        shape = hash((shape, message.role, *map(_shape, message.blocks)))
        yield shape


def _shape(block: Block) -> tuple[object, ...]:
    match block:
        case Image():
            return (Image,)
        case ToolCall():
            return (ToolCall, len(block.name), len(block.arguments))
        case ToolResult():
            return (ToolResult, *map(_shape, block.content))
        case _:
            return (type(block), len(block.text))
