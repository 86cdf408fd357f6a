"""Conversations that the tests of the engine's modules ask about."""

from __future__ import annotations

from typing import Any

from appliance.conversation import Block, Conversation, Message, Role, Text, Tool, ToolChoice, ToolChoiceMode

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER = Tool("weather", "Forecast for a city", SCHEMA)
CLOCK = Tool("clock")
REQUIRED = ToolChoice(ToolChoiceMode.REQUIRED)
NAMED = ToolChoice(ToolChoiceMode.NAMED, "weather")


def user(*blocks: Block | str) -> Message:
    return message(Role.USER, *blocks)


def assistant(*blocks: Block | str) -> Message:
    return message(Role.ASSISTANT, *blocks)


def message(role: Role, *blocks: Block | str) -> Message:
    return Message(role, tuple(Text(block) if isinstance(block, str) else block for block in blocks))


def conversation(*messages: Message, **fields: Any) -> Conversation:
    return Conversation("tiny", messages or (user("Hi"),), **fields)
