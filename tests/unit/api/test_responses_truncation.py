from __future__ import annotations

import pytest

from appliance.api.responses_truncation import prepare, shortened
from appliance.conversation import Conversation, Message, Role, Text, ToolCall, ToolResult
from appliance.errors import ContextTooLong
from tests.unit.api.responses_requests import body_of, new_codec, said
from tests.unit.api.scripted import ScriptedInference, ScriptedRequest

SYSTEM = Message(Role.SYSTEM, (Text("s"),))


def turn(number: int) -> tuple[Message, ...]:
    call = ToolCall(f"c{number}", "run", "{}")
    return (
        Message(Role.USER, (Text(str(number)),)),
        Message(Role.ASSISTANT, (call,)),
        Message(Role.TOOL, (ToolResult(call.id, ()),)),
    )


def test_turns_are_left_out_whole_and_the_last_stays() -> None:
    messages = (SYSTEM, *(message for number in range(5) for message in turn(number)))
    found = [conversation.messages for conversation in shortened(Conversation("m", messages))]
    assert [messages[1].blocks[0] for messages in found] == [Text("3"), Text("4")]
    assert all(messages[0] == SYSTEM and len(messages) % 3 == 1 for messages in found)


def test_one_turn_cannot_be_shortened() -> None:
    assert list(shortened(Conversation("m", (SYSTEM, *turn(0))))) == []
    assert list(shortened(Conversation("m", ()))) == []


class SmallInference(ScriptedInference):
    """Takes conversations of at most `max_messages`."""

    max_messages = 2

    async def prepare(self, conversation: Conversation, request_id: str) -> ScriptedRequest:
        if len(conversation.messages) > self.max_messages:
            raise ContextTooLong("too long", code="context_length_exceeded")
        return await super().prepare(conversation, request_id)


async def test_a_conversation_is_shortened_only_where_that_is_allowed() -> None:
    history = [said(str(number)) for number in range(5)]
    inference = SmallInference()
    allowed = await new_codec().decode(body_of(*history, truncation="auto"), {})
    call, _ = await prepare(inference, allowed, "r")
    assert [message.blocks for message in inference.conversations[0].messages] == [(Text("3"),), (Text("4"),)]
    assert call.conversation.reporting.ignored[-1].reason.startswith("3 messages were left out")
    refused = await new_codec().decode(body_of(*history), {})
    with pytest.raises(ContextTooLong):
        await prepare(inference, refused, "r")


async def test_what_cannot_be_made_to_fit_is_refused() -> None:
    inference = SmallInference()
    inference.max_messages = 0
    call = await new_codec().decode(body_of(said("a"), said("b"), truncation="auto"), {})
    with pytest.raises(ContextTooLong, match="too long"):
        await prepare(inference, call, "r")
