"""What is stored for clients as rows of bytes, and back: written as it changes, read at a start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, cast

import msgspec
from msgspec import Struct

from appliance.api.responses_bodies import FAILED
from appliance.api.responses_store import StoredConversation, StoredItem, StoredResponse

Entry = StoredResponse | StoredConversation

INTERRUPTED: Final = {
    "code": "server_error",
    "message": "The box was started again while it was making this response.",
}


class Journal(Protocol):
    """Told of every change, in order; never waits. `None`: it is gone."""

    def item(self, item_id: str, body: bytes | None) -> None: ...

    def entry(self, entry_id: str, entry: Entry | None) -> None: ...


class NoJournal:
    """For a store that is gone with the process."""

    def item(self, item_id: str, body: bytes | None) -> None:
        """Forget it."""

    def entry(self, entry_id: str, entry: Entry | None) -> None:
        """Forget it."""


class _Response(Struct, frozen=True, tag="response"):
    body: msgspec.Raw
    context: tuple[str, ...]
    output: tuple[str, ...]
    is_finished: bool
    is_background: bool


class _Conversation(Struct, frozen=True, tag="conversation"):
    created: int
    metadata: Mapping[str, str]
    items: tuple[str, ...]


_decoder: Final = msgspec.json.Decoder(_Response | _Conversation)


def entry_body(entry: Entry) -> bytes:
    """With its items by their ids."""
    if isinstance(entry, StoredResponse):
        ids, output = _ids(entry.context), _ids(entry.output)
        body = msgspec.Raw(entry.body)
        return msgspec.json.encode(_Response(body, ids, output, entry.is_finished, entry.is_background))
    return msgspec.json.encode(_Conversation(entry.created, entry.metadata, _ids(entry.items)))


def entries_of(bodies: Iterable[tuple[str, bytes]], items: Mapping[str, bytes]) -> Iterator[Entry]:
    """Those that are whole, in the same order. A response that was being made has failed."""
    known = {item_id: StoredItem(item_id, body) for item_id, body in items.items()}
    for entry_id, body in bodies:
        try:
            yield _entry(entry_id, _decoder.decode(body), known)
        except (KeyError, msgspec.DecodeError):
            continue


def _entry(entry_id: str, told: _Response | _Conversation, known: Mapping[str, StoredItem]) -> Entry:
    """Raises `KeyError` when an item is missing."""
    if isinstance(told, _Conversation):
        items = tuple(known[item_id] for item_id in told.items)
        return StoredConversation(entry_id, told.created, told.metadata, items)
    body = bytes(told.body) if told.is_finished else _interrupted(bytes(told.body))
    context, output = (tuple(known[item_id] for item_id in ids) for ids in (told.context, told.output))
    return StoredResponse(entry_id, body, context, output, is_background=told.is_background)


def _interrupted(body: bytes) -> bytes:
    response = cast("dict[str, Any]", json.loads(body))
    return msgspec.json.encode(response | {"status": FAILED, "error": INTERRUPTED})


def _ids(items: tuple[StoredItem, ...]) -> tuple[str, ...]:
    return tuple(item.id for item in items)
