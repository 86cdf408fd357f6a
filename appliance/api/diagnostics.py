"""Why a prompt could not be read from cache where an earlier one of the same client was: the first difference between
the two requests."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import takewhile
from typing import Any, Final

import msgspec

from appliance.conversation import Block, Conversation, Image, Message, Role, Thinking, ToolResult

MAX_HASHES: Final = 1_000_000  # 8 MB
HASHED_CHARACTERS: Final = 2**20
SYSTEM_ROLES: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


class MissReason(StrEnum):
    MODEL_CHANGED = "model_changed"
    SYSTEM_CHANGED = "system_changed"
    TOOLS_CHANGED = "tools_changed"
    MESSAGES_CHANGED = "messages_changed"
    PREVIOUS_MESSAGE_NOT_FOUND = "previous_message_not_found"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class CacheMiss:
    """The first difference to the earlier request. `at` names its place, `None` where there is no single one;
    `missed_tokens` are the prompt tokens that were not read from cache."""

    reason: MissReason
    missed_tokens: int
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """64-bit hashes of a request's parts, and the names of its tools. Marks and signatures are no part of a prompt and
    left out.

    `messages` are those after the leading system messages, which are `system`; `settings` is everything else that a
    prompt may depend on.
    """

    model: int
    system: int
    tools: array[int]
    messages: array[int]
    settings: int
    tool_names: tuple[str, ...] = field(default=(), compare=False)

    @property
    def num_hashes(self) -> int:
        return 3 + len(self.tools) + len(self.messages)


class Diagnostics:
    """Remembers the requests behind the last `capacity` answers, and never more than `max_hashes` hashes of them.

    The answer that was used longest ago is forgotten first; `forgotten` counts them.
    """

    def __init__(self, capacity: int, max_hashes: int = MAX_HASHES) -> None:
        self._capacity = capacity
        self._max_hashes = max_hashes
        self._fingerprints: OrderedDict[str, Fingerprint] = OrderedDict()
        self._num_hashes = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._fingerprints)

    def record(self, answer_id: str, fingerprint: Fingerprint) -> None:
        """Remember which request `answer_id` answers. A request that is too large by itself is not remembered."""
        self._forget(answer_id)
        if fingerprint.num_hashes > self._max_hashes:
            self.forgotten += 1
            return
        self._fingerprints[answer_id] = fingerprint
        self._num_hashes += fingerprint.num_hashes
        while len(self._fingerprints) > self._capacity or self._num_hashes > self._max_hashes:
            self._forget(next(iter(self._fingerprints)))
            self.forgotten += 1

    def miss(self, fingerprint: Fingerprint, previous_id: str | None, missed_tokens: int) -> CacheMiss | None:
        """The first difference to the request that `previous_id` answered, in the order model, system, tools, messages,
        settings (`UNAVAILABLE`). `None` on a first turn, and when this request goes on where the earlier one stopped.
        """
        if previous_id is None:
            return None
        previous = self._fingerprints.get(previous_id)
        if previous is None:
            return CacheMiss(MissReason.PREVIOUS_MESSAGE_NOT_FOUND, missed_tokens)
        self._fingerprints.move_to_end(previous_id)
        found = _difference(previous, fingerprint)
        return None if found is None else CacheMiss(found[0], missed_tokens, found[1])

    def check_integrity(self) -> None:
        counted = sum(fingerprint.num_hashes for fingerprint in self._fingerprints.values())
        if counted != self._num_hashes:
            raise AssertionError(f"{counted} hashes are held, {self._num_hashes} counted")
        if len(self) > self._capacity or counted > self._max_hashes:
            raise AssertionError(f"{len(self)} answers with {counted} hashes are more than allowed")

    def _forget(self, answer_id: str) -> None:
        fingerprint = self._fingerprints.pop(answer_id, None)
        if fingerprint is not None:
            self._num_hashes -= fingerprint.num_hashes


def fingerprint_of(conversation: Conversation) -> Fingerprint:
    system, messages = _parts(conversation)
    settings = (
        conversation.tool_choice,
        conversation.reasoning,
        conversation.template_arguments,
        conversation.cache_salt,
        conversation.output_format,
    )
    return Fingerprint(
        model=_hash(conversation.model),
        system=_hash([_plain(message) for message in system]),
        tools=array("Q", [_hash(replace(tool, mark=None)) for tool in conversation.tools]),
        messages=array("Q", [_hash(_plain(message)) for message in messages]),
        settings=_hash(settings),
        tool_names=tuple(tool.name for tool in conversation.tools),
    )


def _difference(previous: Fingerprint, current: Fingerprint) -> tuple[MissReason, str | None] | None:
    if current.model != previous.model:
        return MissReason.MODEL_CHANGED, "model"
    if current.system != previous.system:
        return MissReason.SYSTEM_CHANGED, "system"
    if current.tools != previous.tools:
        return MissReason.TOOLS_CHANGED, _tool_at(current.tool_names, _num_shared(previous.tools, current.tools))
    num_shared = _num_shared(previous.messages, current.messages)
    if num_shared < len(previous.messages):
        return MissReason.MESSAGES_CHANGED, f"messages[{num_shared}]"
    if current.settings != previous.settings:
        return MissReason.UNAVAILABLE, None
    return None


def _num_shared(previous: Sequence[int], current: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(previous, current, strict=False)))


def _tool_at(names: Sequence[str], position: int) -> str:
    """Without a name where the earlier request had a tool more."""
    return f"tools[{position}] {names[position]}" if position < len(names) else f"tools[{position}]"


def _parts(conversation: Conversation) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The leading system messages, and the others."""
    messages = conversation.messages
    num_system = sum(1 for _ in takewhile(lambda message: message.role in SYSTEM_ROLES, messages))
    return messages[:num_system], messages[num_system:]


def _plain(message: Message) -> Message:
    return replace(message, blocks=tuple(_plain_blocks(message.blocks)))


def _plain_blocks(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, ToolResult):
            content = tuple(
                _hashed(part) if isinstance(part, Image) else replace(part, mark=None) for part in block.content
            )
            yield replace(block, mark=None, content=content)
        elif isinstance(block, Thinking):
            yield replace(block, mark=None, signature=None)
        elif isinstance(block, Image):
            yield _hashed(block)
        else:
            yield block if block.mark is None else replace(block, mark=None)


def _hashed(image: Image) -> Image:
    """With a digest for a URL: to encode one of many megabytes at once would hold all threads."""
    digest = hashlib.blake2b(digest_size=16)
    for begin in range(0, len(image.url), HASHED_CHARACTERS):
        digest.update(image.url[begin : begin + HASHED_CHARACTERS].encode())
    return replace(image, url=digest.hexdigest(), mark=None)


def _hash(value: Any) -> int:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(msgspec.json.encode(value))  # msgpack knows no integer of more than 64 bits, a JSON schema does
    return int.from_bytes(digest.digest(), "little")
