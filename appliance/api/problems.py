"""Errors as a client sees them, in OpenAI's shape; and the ones that only HTTP knows.

RequestError
├─ InvalidRequest
│  ├─ BodyTooLarge        413
│  ├─ NoSuchRoute         404
│  └─ MethodNotAllowed    405
└─ NotReady
   └─ Overloaded          503: as many generations in flight as the box takes
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import InvalidRequest, NotReady, RequestError

RETRY_AFTER_SECONDS = 1

Headers = list[tuple[bytes, bytes]]


class BodyTooLarge(InvalidRequest):
    status = 413


class NoSuchRoute(InvalidRequest):
    status = 404


class MethodNotAllowed(InvalidRequest):
    status = 405


class Overloaded(NotReady):
    pass


def internal_error(request_id: str) -> RequestError:
    """What a client is told of an unexpected exception: nothing but where the operator finds it."""
    return RequestError(f"an internal error ended this request; the log has it under {request_id}", code="internal")


def problem(error: RequestError) -> dict[str, Any]:
    message = f"{error.message.rstrip('.')}. {error.hint}" if error.hint else error.message
    return {"error": {"message": message, "type": error.type, "param": error.param, "code": error.code}}


def encode_problem(error: RequestError) -> bytes:
    return msgspec.json.encode(problem(error))


def problem_headers(error: RequestError) -> Headers:
    """The headers that an error needs beside its body."""
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if error.status == 413:
        return [(b"connection", b"close")]
    if error.status == 503:
        return [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    return []
