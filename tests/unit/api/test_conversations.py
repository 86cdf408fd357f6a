from __future__ import annotations

from typing import Any

import openai
import pytest

from appliance.conversation import Message, Role, Text
from tests.unit.api.scripted import ScriptedInference, client_of, new_app
from tests.unit.api.test_openai_client import official_client
from tests.unit.api.test_responses_client import ask, client_for

HELLO_ITEM: Any = {"type": "message", "role": "user", "content": "Hello"}


async def test_a_conversation_is_made_changed_and_forgotten() -> None:
    async with client_for(ScriptedInference()) as client:
        made = await client.conversations.create(metadata={"a": "b"}, items=[HELLO_ITEM])
        assert (made.object, made.created_at, made.metadata) == ("conversation", 1_700_000_000, {"a": "b"})
        assert await client.conversations.retrieve(made.id) == made
        changed = await client.conversations.update(made.id, metadata={"c": "d"})
        assert (changed.id, changed.metadata) == (made.id, {"c": "d"})
        gone = await client.conversations.delete(made.id)
        assert (gone.id, gone.deleted, gone.object) == (made.id, True, "conversation.deleted")
        for call in (
            client.conversations.retrieve(made.id),
            client.conversations.delete(made.id),
            client.conversations.update(made.id, metadata={}),
            client.conversations.items.create(made.id, items=[HELLO_ITEM]),
            client.conversations.items.retrieve("msg_1", conversation_id=made.id),
            client.conversations.items.delete("msg_1", conversation_id=made.id),
        ):
            with pytest.raises(openai.NotFoundError) as lost:
                await call
            assert lost.value.code == "conversation_not_found"


async def test_items_are_added_listed_and_taken_out() -> None:
    async with client_for(ScriptedInference()) as client:
        made = await client.conversations.create()
        added = await client.conversations.items.create(made.id, items=[HELLO_ITEM, HELLO_ITEM])
        first, second = added.data
        listed = [item async for item in client.conversations.items.list(made.id, limit=1)]
        assert listed == [second, first]
        item_id = str(first.id)
        assert await client.conversations.items.retrieve(item_id, conversation_id=made.id) == first
        await client.conversations.items.delete(item_id, conversation_id=made.id)
        with pytest.raises(openai.NotFoundError) as lost:
            await client.conversations.items.delete(item_id, conversation_id=made.id)
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.retrieve(item_id, conversation_id=made.id)
    assert lost.value.code == "item_not_found"


async def test_a_response_goes_on_where_its_conversation_stopped_and_is_added_to_it() -> None:
    inference = ScriptedInference()
    async with client_for(inference) as client:
        made = await client.conversations.create(items=[HELLO_ITEM])
        response = await ask(client, input="a", conversation=made.id)
        await ask(client, input="b", conversation={"id": made.id}, store=False)
        listed = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert response.conversation is not None
    assert response.conversation.id == made.id
    answer = Message(Role.ASSISTANT, (Text("Hello"),))
    asked = [Message(Role.USER, (Text(text),)) for text in ("Hello", "a", "b")]
    assert inference.conversations[1].messages == (*asked[:2], answer, asked[2])
    assert [item.role for item in listed if item.type == "message"] == [
        "user",
        "user",
        "assistant",
        "user",
        "assistant",
    ]


async def test_a_failed_response_adds_nothing() -> None:
    inference = ScriptedInference([])
    async with client_for(inference) as client:
        made = await client.conversations.create(items=[HELLO_ITEM])
        with pytest.raises(openai.InternalServerError):
            await ask(client, conversation=made.id)
        listed = [item async for item in client.conversations.items.list(made.id)]
    assert len(listed) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": 5}, "metadata"),
        ({"items": {}}, "items"),
        ({"items": [5]}, "items[0]"),
        ({"items": [{"type": "message"}]}, "items[0].role"),
        ({"items": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "items[0].call_id"),
        ({"items": [{**HELLO_ITEM, "id": 5}]}, "items[0].id"),
        ({"items": [HELLO_ITEM] * 21}, "items"),
    ],
)
async def test_a_wrong_body_is_refused(body: dict[str, Any], param: str) -> None:
    app = new_app(ScriptedInference())
    async with client_of(app) as http:
        refused = await http.post("/v1/conversations", json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    async with official_client(client_of(app)) as client:
        made = await client.conversations.create()
        with pytest.raises(openai.BadRequestError):
            await client.conversations.items.create(made.id, items=[])
