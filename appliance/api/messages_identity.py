"""Messages API, request side: who is asking."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from appliance.api.extension import Extension
from appliance.api.fields import Fields
from appliance.api.identity import MAX_ID_CHARACTERS, identify
from appliance.conversation import Identity

MAX_USER_CHARACTERS: Final = 1024
LEGACY_USER: Final = re.compile(r"(user_.*_account_.*)_session_([A-Za-z0-9-]+)", re.DOTALL)
USER_NAMES: Final = ("account_uuid", "device_id")
"""Of a `user_id` that is JSON: what stays the same from session to session, the best first."""


class UserId(NamedTuple):
    user: str | None = None
    session_id: str | None = None


def decode_identity(body: Fields, headers: Mapping[str, str], extension: Extension) -> Identity:
    """Raises `InvalidRequest`."""
    metadata = body.object("metadata")
    value = None if metadata is None else metadata.short_string("user_id", MAX_USER_CHARACTERS)
    told = UserId() if value is None else split_user_id(value)
    return identify(headers, session_id=told.session_id, user=told.user, stated=extension.session)


def split_user_id(value: str) -> UserId:
    """Claude Code puts its session into `user_id`: as a JSON object, earlier as the end of one string."""
    legacy = LEGACY_USER.fullmatch(value)
    if legacy is not None:
        return UserId(legacy[1], legacy[2][:MAX_ID_CHARACTERS])
    told = _object(value) if value.startswith("{") else None
    session_id = told.get("session_id") if told is not None else None
    if told is None or not isinstance(session_id, str) or not session_id:
        return UserId(value)
    user = next((told[name] for name in USER_NAMES if isinstance(told.get(name), str) and told[name]), None)
    return UserId(user, session_id[:MAX_ID_CHARACTERS])


def join_user_id(identity: Identity) -> str | None:
    """What `split_user_id` takes apart again."""
    if identity.session_id is None:
        return identity.user
    told = {"device_id": identity.user or "", "session_id": identity.session_id}
    return msgspec.json.encode(told).decode()


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
