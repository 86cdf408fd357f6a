"""Responses, request side: all items that a request is about, those that it sends and those that it only names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from appliance.api.fields import Fields
from appliance.api.offload import paced
from appliance.api.responses_items import item_kind
from appliance.api.responses_store import (
    NotStored,
    ResponseStore,
    StoredItem,
    missing_conversation,
)
from appliance.errors import InvalidRequest

EXCLUSIVE: Final = "Mutually exclusive parameters. Ensure you are only providing one of: {} or {}."
# Beside these, items have no status of their own.
STATUS_KINDS: Final = frozenset(
    {"message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
)
ID_PREFIXES: Final = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "compaction": "cmp_",
}


@dataclass(frozen=True, slots=True)
class History:
    """`earlier` are kept items that come before the request's `own`. The names say where they came from."""

    own: tuple[Fields, ...]
    earlier: tuple[StoredItem, ...] = ()
    previous_response_id: str | None = None
    conversation_id: str | None = None

    @property
    def earlier_bytes(self) -> int:
        return sum(len(item.body) for item in self.earlier)

    def items(self) -> Iterable[Fields]:
        root = Fields({})
        for position, item in enumerate(self.earlier):
            yield Fields(msgspec.json.decode(item.body), root, "history", position)
        yield from self.own


async def gather_history(body: Fields, store: ResponseStore) -> History:
    """Raises `NotStored` for what a request names and is not there, `InvalidRequest` for a request about nothing."""
    previous_id = body.short_string("previous_response_id", 256)
    conversation_id = _conversation_id(body)
    if previous_id is not None and conversation_id is not None:
        message = EXCLUSIVE.format("'previous_response_id'", "'conversation'")
        raise InvalidRequest(message, param="previous_response_id", code="mutually_exclusive_parameters")
    own = tuple([await _resolved(fields, body, at, store) async for at, fields in paced(enumerate(_input(body)))])
    earlier: tuple[StoredItem, ...] = ()
    if previous_id is not None:
        earlier = await _previous_items(previous_id, store)
    elif conversation_id is not None:
        conversation = await store.conversation(conversation_id)
        if conversation is None:
            raise missing_conversation(conversation_id)
        earlier = conversation.items
    if not (own or earlier):
        raise body.refuse("input", "a string, or an array of at least one item")
    return History(own, earlier, previous_id, conversation_id)


async def keepable(
    items: Iterable[Fields], store: ResponseStore, new_token: Callable[[], str]
) -> tuple[StoredItem, ...]:
    """The items as they are kept: each complete, and with an id. One that is kept already is the same one again."""
    token = new_token()
    return tuple(
        [await _keepable(fields, f"{token}{number:04x}", store) async for number, fields in paced(enumerate(items))]
    )


async def _keepable(fields: Fields, token: str, store: ResponseStore) -> StoredItem:
    item = _complete(fields)
    own_id = fields.short_string("id", 256)
    known = await store.item(own_id) if own_id is not None else None
    if own_id is not None:
        kept = StoredItem(own_id, msgspec.json.encode({"id": own_id, **item}))
        if known is None or known == kept:
            return known or kept
    new_id = ID_PREFIXES.get(item["type"], "item_") + token
    return StoredItem(new_id, msgspec.json.encode({**item, "id": new_id}))


def _complete(fields: Fields) -> dict[str, Any]:
    """With what a client may leave out: type, status, and the parts of a message that is one string."""
    item = dict(fields.values())
    kind = item["type"] = item_kind(fields)
    if kind in STATUS_KINDS:
        item["status"] = item.get("status") or "completed"
    if kind == "message" and isinstance(item.get("content"), str):
        item["content"] = [_text_part(item["content"], spoken=item.get("role") == "assistant")]
    return item


def _text_part(text: str, *, spoken: bool) -> dict[str, Any]:
    if spoken:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def _input(body: Fields) -> list[Fields]:
    text = body.raw("input")
    if isinstance(text, str):
        return [Fields({"type": "message", "role": "user", "content": text}, body, "input", 0)]
    if text is not None and not isinstance(text, list):
        raise body.refuse("input", "a string or an array of items")
    return body.objects("input")


async def _resolved(fields: Fields, body: Fields, position: int, store: ResponseStore) -> Fields:
    if item_kind(fields) != "item_reference":
        return fields
    item_id = fields.required_string("id")
    item = await store.item(item_id)
    if item is None:
        message = f"Item with id {item_id!r} not found. Items are not persisted when `store` is set to false."
        raise NotStored(message, param=fields.path("id"))
    return Fields(msgspec.json.decode(item.body), body, "input", position)


async def _previous_items(response_id: str, store: ResponseStore) -> tuple[StoredItem, ...]:
    """Hosted services answer an unknown response here with 400, unlike where it is looked up."""
    response = await store.response(response_id)
    if response is None:
        message = f"Previous response with id {response_id!r} not found."
        raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
    if not response.is_finished:
        message = f"Previous response with id {response_id!r} is not finished yet."
        raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_finished")
    return (*response.context, *response.output)


def _conversation_id(body: Fields) -> str | None:
    if not isinstance(body.raw("conversation"), dict):
        return body.short_string("conversation", 256)
    return body.required_object("conversation").required_string("id")
