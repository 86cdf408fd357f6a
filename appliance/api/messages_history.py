"""Messages API, request side: the system prompt and the turns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from appliance.api.fields import SHOWN_CHARACTERS, Fields
from appliance.api.messages_blocks import ASSISTANT_KINDS, USER_KINDS
from appliance.api.messages_content import BlockDecoder, decode_blocks, decode_content, decode_text
from appliance.api.messages_reading import Reading
from appliance.conversation import Message, Role, Text, ToolCall
from appliance.errors import InvalidRequest

ROLES: Final = (Role.USER.value, Role.ASSISTANT.value, Role.SYSTEM.value)
LIFETIMES: Final = ("never", "next_user_message")
SYSTEM_KINDS: Final[dict[str, BlockDecoder]] = {"text": decode_text}
KINDS: Final = {Role.USER: USER_KINDS, Role.ASSISTANT: ASSISTANT_KINDS, Role.SYSTEM: SYSTEM_KINDS}


def decode_messages(body: Fields, reading: Reading) -> tuple[Message, ...]:
    """The system prompt, if there is one, and the turns; turns of one role that follow each other are one."""
    wire = body.objects("messages")
    if not wire:
        raise body.refuse("messages", "an array of at least one message")
    system = _decode_system(body, reading)
    last_user = max((position for position, turn in enumerate(wire) if turn.raw("role") == Role.USER), default=-1)
    shown = (fields for position, fields in enumerate(wire) if _is_shown(fields, position, last_user))
    turns = [_decode_turn(fields, reading) for fields in shown]
    _check_last(wire[-1], turns)
    return (*system, *_combined(turns))


def is_begun(messages: tuple[Message, ...]) -> bool:
    """Whether the last message is the beginning of the answer that is asked for."""
    last = messages[-1] if messages else None
    return last is not None and last.role is Role.ASSISTANT and bool(last.blocks) and isinstance(last.blocks[-1], Text)


def _decode_system(body: Fields, reading: Reading) -> tuple[Message, ...]:
    system = body.raw("system")
    if isinstance(system, str):
        return (Message(Role.SYSTEM, (Text(system),)),) if system else ()
    if system is not None and not isinstance(system, list):
        raise body.refuse("system", "a string or an array of text blocks")
    blocks = decode_blocks(body.objects("system"), SYSTEM_KINDS, reading)
    return (Message(Role.SYSTEM, blocks),) if blocks else ()


def _is_shown(fields: Fields, position: int, last_user: int) -> bool:
    """A system message may be for the user's turn before it only."""
    return fields.choice("clear_at", LIFETIMES) != "next_user_message" or position > last_user


def _decode_turn(fields: Fields, reading: Reading) -> Message:
    role = fields.choice("role", ROLES)
    if role is None:
        raise fields.refuse("role", f"one of {', '.join(ROLES)}")
    return Message(Role(role), decode_content(fields, KINDS[Role(role)], reading))


def _combined(turns: list[Message]) -> Iterator[Message]:
    """Templates of many models want the roles to take turns."""
    for role, group in groupby(turns, key=lambda turn: turn.role):
        if role is Role.SYSTEM:
            yield from group
        else:
            yield Message(role, tuple(block for turn in group for block in turn.blocks))


def _check_last(fields: Fields, turns: list[Message]) -> None:
    """Nothing can answer a history that ends in a call whose result is not there."""
    blocks = turns[-1].blocks if turns else ()
    if blocks and isinstance(blocks[-1], ToolCall):
        message = (
            f"{fields.path()}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{blocks[-1].id[:SHOWN_CHARACTERS]}. Each `tool_use` block must have a corresponding `tool_result` block "
            "in the next message."
        )
        raise InvalidRequest(message, param=fields.path("content"))
