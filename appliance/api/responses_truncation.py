"""`truncation: auto`: a conversation that does not fit loses its oldest turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from appliance.api.responses import ResponsesCall
from appliance.conversation import Conversation, Ignored, Message, Role
from appliance.errors import ContextTooLong
from appliance.generation import Inference, Prepared

SYSTEM_ROLES: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


async def prepare(inference: Inference, call: ResponsesCall, request_id: str) -> tuple[ResponsesCall, Prepared]:
    """The request ready to run, shortened as far as it must and may be. Raises like `Inference.prepare`."""
    try:
        return call, await inference.prepare(call.conversation, request_id)
    except ContextTooLong as too_long:
        if not call.delivery.truncates:
            raise
        error = too_long
    for conversation in shortened(call.conversation):
        try:
            prepared = await inference.prepare(conversation, request_id)
        except ContextTooLong as still_too_long:
            error = still_too_long
        else:
            return replace(call, conversation=conversation, fingerprint=None), prepared
    raise error


def shortened(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation without its oldest turns: half of them, then half of the rest, at last all but one.

    A turn begins with a message of a user, so that no call is parted from its result. What the leading system messages
    say always stays.
    """
    messages = conversation.messages
    num_system = sum(1 for _ in takewhile(lambda message: message.role in SYSTEM_ROLES, messages))
    begins = [at for at, message in enumerate(messages) if message.role is Role.USER and at > num_system]
    while begins:
        begins = begins[len(begins) // 2 :]
        yield _without(conversation, messages[:num_system], begins[0])
        begins = begins[1:]


def _without(conversation: Conversation, system: Sequence[Message], begin: int) -> Conversation:
    left_out = Ignored("input", f"{begin - len(system)} messages were left out to fit the context (truncation: auto)")
    reporting = replace(conversation.reporting, ignored=(*conversation.reporting.ignored, left_out))
    return replace(conversation, messages=(*system, *conversation.messages[begin:]), reporting=reporting)
