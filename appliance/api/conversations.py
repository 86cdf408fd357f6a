"""Conversations: items that are kept under one id, for responses that go on where the last one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from msgspec import Raw, Struct
from starlette.responses import Response

from appliance.api.exchange import Service
from appliance.api.fields import Fields
from appliance.api.item_pages import ItemPage, item_list, item_page
from appliance.api.json_route import answered, read_object
from appliance.api.offload import Offload
from appliance.api.problems import openai_problem
from appliance.api.responses import ResponsesCodec
from appliance.api.responses_options import decode_metadata
from appliance.api.responses_store import (
    Deleted,
    NotStored,
    ResponseStore,
    StoredConversation,
    StoredItem,
    missing_conversation,
    required_conversation,
)
from appliance.errors import InvalidRequest

ID_PREFIX: Final = "conv_"
MAX_ITEMS_AT_ONCE: Final = 20


class ConversationBody(Struct, frozen=True):
    id: str
    created_at: int
    metadata: Mapping[str, str]
    object: str = "conversation"


class Conversations:
    """What a client can do with conversations. Every method raises `NotStored` for ids that are not kept, and
    `InvalidRequest` for bodies that are wrong."""

    def __init__(self, service: Service, codec: ResponsesCodec, store: ResponseStore) -> None:
        self._service = service
        self._codec = codec
        self._store = store

    async def create(self, body: Fields, offload: Offload) -> ConversationBody:
        metadata = decode_metadata(body)
        items = await self._items(body, (), offload)
        conversation_id = ID_PREFIX + self._service.new_token()
        conversation = StoredConversation(conversation_id, int(self._service.clock()), metadata, items)
        await self._store.put_conversation(conversation)
        return _body(conversation)

    async def retrieve(self, conversation_id: str) -> ConversationBody:
        return _body(await required_conversation(self._store, conversation_id))

    async def update(self, conversation_id: str, body: Fields) -> ConversationBody:
        changed = await self._store.set_metadata(conversation_id, decode_metadata(body))
        if changed is None:
            raise missing_conversation(conversation_id)
        return _body(changed)

    async def delete(self, conversation_id: str) -> Deleted:
        if not await self._store.delete_conversation(conversation_id):
            raise missing_conversation(conversation_id)
        return Deleted(conversation_id, "conversation.deleted")

    async def add(self, conversation_id: str, body: Fields, offload: Offload) -> ItemPage:
        conversation = await required_conversation(self._store, conversation_id)
        if not body.array("items"):
            raise body.refuse("items", f"an array of 1 to {MAX_ITEMS_AT_ONCE} items")
        items = await self._items(body, conversation.items, offload)
        if not await self._store.add_items(conversation_id, items):
            raise missing_conversation(conversation_id)
        return item_list(items)

    async def page(self, conversation_id: str, query: Mapping[str, str]) -> ItemPage:
        return item_page((await required_conversation(self._store, conversation_id)).items, query)

    async def item(self, conversation_id: str, item_id: str) -> Raw:
        conversation = await required_conversation(self._store, conversation_id)
        found = next((item for item in conversation.items if item.id == item_id), None)
        if found is None:
            raise _missing_item(item_id)
        return Raw(found.body)

    async def remove(self, conversation_id: str, item_id: str) -> ConversationBody:
        await required_conversation(self._store, conversation_id)
        shorter = await self._store.remove_item(conversation_id, item_id)
        if shorter is None:
            raise _missing_item(item_id)
        return _body(shorter)

    async def _items(self, body: Fields, earlier: tuple[StoredItem, ...], offload: Offload) -> tuple[StoredItem, ...]:
        """The body's `items` as they are kept, checked as the input of a response would be after the `earlier` ones."""
        items = body.objects("items")
        if len(items) > MAX_ITEMS_AT_ONCE:
            raise body.refuse("items", f"at most {MAX_ITEMS_AT_ONCE} items at once")
        await self._codec.check(items, earlier, offload)
        return await self._codec.keepable(items)


def add_conversation_routes(app: FastAPI, conversations: Conversations, service: Service) -> None:
    _add_conversations(app, conversations, service)
    _add_items(app, conversations, service)


def _add_conversations(app: FastAPI, conversations: Conversations, service: Service) -> None:
    @app.post("/v1/conversations")
    async def create(request: Request) -> Response:
        async def created() -> Any:
            body, offload = await read_object(request, service)
            return await conversations.create(Fields(body), offload)

        return await answered(request, openai_problem, created)

    @app.get("/v1/conversations/{conversation_id}")
    async def retrieve(conversation_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: conversations.retrieve(conversation_id))

    @app.post("/v1/conversations/{conversation_id}")
    async def update(conversation_id: str, request: Request) -> Response:
        async def updated() -> Any:
            body, _ = await read_object(request, service)
            return await conversations.update(conversation_id, Fields(body))

        return await answered(request, openai_problem, updated)

    @app.delete("/v1/conversations/{conversation_id}")
    async def delete(conversation_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: conversations.delete(conversation_id))


def _add_items(app: FastAPI, conversations: Conversations, service: Service) -> None:
    items_path = "/v1/conversations/{conversation_id}/items"

    @app.post(items_path)
    async def add(conversation_id: str, request: Request) -> Response:
        async def added() -> Any:
            body, offload = await read_object(request, service)
            return await conversations.add(conversation_id, Fields(body), offload)

        return await answered(request, openai_problem, added)

    @app.get(items_path)
    async def page(conversation_id: str, request: Request) -> Response:
        return await answered(
            request, openai_problem, lambda: conversations.page(conversation_id, request.query_params)
        )

    @app.get(items_path + "/{item_id}")
    async def item(conversation_id: str, item_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: conversations.item(conversation_id, item_id))

    @app.delete(items_path + "/{item_id}")
    async def remove(conversation_id: str, item_id: str, request: Request) -> Response:
        return await answered(request, openai_problem, lambda: conversations.remove(conversation_id, item_id))


def _body(conversation: StoredConversation) -> ConversationBody:
    return ConversationBody(conversation.id, conversation.created, conversation.metadata)


def _missing_item(item_id: str) -> InvalidRequest:
    return NotStored(f"Item with id {item_id!r} not found.", param="item_id", code="item_not_found")
