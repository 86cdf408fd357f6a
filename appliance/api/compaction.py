"""Compaction items: what stands for the part of a conversation that is left out to make room.

Such an item holds a summary that the model wrote, closed with the box's own seal as hosted ones are. When it comes back
it is a user's message at the place where it stands.
"""

from __future__ import annotations

from typing import Final

from appliance.api.fields import Fields
from appliance.api.seal import Seal
from appliance.conversation import Message, Role, Text
from appliance.errors import InvalidRequest

PREFACE: Final = "The conversation so far was long and has been left out. Its summary:\n\n"


def close_compaction(summary: str, seal: Seal) -> str:
    return seal.close(summary)


def open_compaction(fields: Fields, seal: Seal) -> Message:
    """Raises `InvalidRequest` for an item that was not closed here: without it the conversation makes no sense."""
    summary = seal.open(fields.required_string("encrypted_content"))
    if summary is None:
        path = fields.path("encrypted_content")
        message = f"{path}: The encrypted content could not be verified; it was not made by this box."
        raise InvalidRequest(message, param=path, code="invalid_encrypted_content")
    return Message(Role.USER, (Text(PREFACE + summary),))
