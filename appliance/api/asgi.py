"""The few steps of ASGI that handlers share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from appliance.api.json_body import (
    MAX_NESTING,
    UNBOUNDED,
    Bounds,
    NestedTooDeeplyError,
    TooManyValuesError,
    TooMuchTextError,
    decode_json,
    lone_surrogate,
)
from appliance.api.problems import BodyTooLarge, Headers
from appliance.errors import ContextTooLong, InvalidRequest

JSON = b"application/json"
UNLOCKED_BYTES = 2**20
"""From here on Python joins bytes without its lock."""


class ClientLeftError(Exception):
    """Nobody is there to be answered. `str(error)` says how that is known."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Header names in lower case. Of a repeated header the last value counts."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as it is too large, `ClientLeftError` when it breaks off."""
    announced = headers_of(scope).get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    num_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError("the client left before its request was complete")
        parts.append(message.get("body", b""))
        num_bytes += len(parts[-1])
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    # A long join lets other threads run; half of its time goes to memory that is new.
    return b"".join(parts) if num_bytes <= UNLOCKED_BYTES else await asyncio.to_thread(b"".join, parts)


def parse_object(body: bytes, bounds: Bounds = UNBOUNDED) -> Mapping[str, Any]:
    """The JSON object in `body`. Raises `InvalidRequest`, `BodyTooLarge` for too many values, and `ContextTooLong`."""
    try:
        value = decode_json(body, bounds)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(body, error) from error
    except NestedTooDeeplyError as error:
        raise InvalidRequest(f"the body is nested too deeply: more than {MAX_NESTING} levels") from error
    except TooManyValuesError as error:
        message = f"the body holds {error.found} {error.kind}; this box takes at most {error.most}"
        raise BodyTooLarge(message, code="too_many_values") from error
    except TooMuchTextError as error:
        raise ContextTooLong(
            f"The body holds {error.found} bytes of text; this model's context has no room for more than {error.most}.",
            code="context_length_exceeded",
        ) from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body must be a JSON object, not {type(value).__name__}")
    return value


def _not_json(body: bytes, error: Exception) -> InvalidRequest:
    path = lone_surrogate(body)
    if path is None:
        return InvalidRequest(f"the body is not JSON: {error}")
    message = f"the body is not JSON: {path or 'it'} holds half of a surrogate pair, which is no character"
    return InvalidRequest(message, param=path or None, code="invalid_value")


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone. Call after the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_whole(
    send: Send, status: int, body: bytes, *, content_type: bytes = JSON, headers: Headers | None = None
) -> None:
    fixed: Headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *(headers or ())]})
    await send({"type": "http.response.body", "body": body})


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than this box takes ({max_bytes} bytes)", code="body_too_large")
