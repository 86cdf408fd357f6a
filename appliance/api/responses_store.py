"""What outlives its request: responses, the items that they are made of, and conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from msgspec import Struct

from appliance.errors import InvalidRequest


class NotStored(InvalidRequest):
    """Nothing is kept under the id that a client names: never was, deleted, or dropped for want of room."""

    status = 404


class Deleted(Struct, frozen=True):
    """What is answered when something is kept no more."""

    id: str
    object: str
    deleted: bool = True


class StoredItem(NamedTuple):
    """One item of an input or an output. `body` is its JSON, which holds `id` too; it never changes."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`body` is the whole response as JSON. `context` is everything that the model was given, but for instructions and
    tools; `output` what it answered so far."""

    id: str
    body: bytes
    context: tuple[StoredItem, ...]
    output: tuple[StoredItem, ...] = ()
    is_finished: bool = True
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """`created` is in seconds since 1970. `items` are in the order in which they were said."""

    id: str
    created: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    items: tuple[StoredItem, ...] = ()


class ResponseStore(Protocol):
    """Every method is one transaction. A store may forget what it likes; an item lives as long as something that was
    put holds it."""

    async def put_response(self, response: StoredResponse) -> None:
        """Keep it, instead of the one with the same id if there is one."""
        ...

    async def response(self, response_id: str) -> StoredResponse | None: ...

    async def delete_response(self, response_id: str) -> bool:
        """`False` when there was none."""
        ...

    async def item(self, item_id: str) -> StoredItem | None: ...

    async def put_conversation(self, conversation: StoredConversation) -> None:
        """Like `put_response`."""
        ...

    async def conversation(self, conversation_id: str) -> StoredConversation | None: ...

    async def delete_conversation(self, conversation_id: str) -> bool:
        """Its items stay where responses hold them. `False` when there was none."""
        ...

    async def add_items(self, conversation_id: str, items: tuple[StoredItem, ...]) -> bool:
        """`False`, and nothing is kept, when there is no such conversation."""
        ...

    async def set_metadata(self, conversation_id: str, metadata: Mapping[str, str]) -> StoredConversation | None:
        """The conversation as it is then; `None` when there is none."""
        ...

    async def remove_item(self, conversation_id: str, item_id: str) -> StoredConversation | None:
        """The conversation without the item; `None` when there is no such item in it."""
        ...


async def required_response(store: ResponseStore, response_id: str) -> StoredResponse:
    """Raises `NotStored`."""
    found = await store.response(response_id)
    if found is None:
        raise NotStored(f"Response with id {response_id!r} not found.", param="response_id", code="response_not_found")
    return found


async def required_conversation(store: ResponseStore, conversation_id: str) -> StoredConversation:
    """Raises `NotStored`."""
    found = await store.conversation(conversation_id)
    if found is None:
        raise missing_conversation(conversation_id)
    return found


def missing_conversation(conversation_id: str) -> NotStored:
    message = f"Conversation with id {conversation_id!r} not found."
    return NotStored(message, param="conversation", code="conversation_not_found")
