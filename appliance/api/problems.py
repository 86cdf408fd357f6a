"""Errors as a client of OpenAI's protocols sees them; and the ones that only HTTP knows.

RequestError
├─ InvalidRequest
│  ├─ BodyTooLarge        413
│  ├─ Forbidden           403
│  ├─ NoSuchRoute         404
│  └─ MethodNotAllowed    405
└─ NotReady
   └─ Overloaded          503: as many generations in flight as the box takes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct, json

from appliance.errors import InvalidRequest, NotReady, RequestError, TooManyRequests

RETRY_AFTER_SECONDS = 1
MAX_TOLD_CHARACTERS = 1_000
"""Of a message and of the path in `param`: either may quote what the client sent, as long as that is."""

Headers = list[tuple[bytes, bytes]]


class BodyTooLarge(InvalidRequest):
    status = 413


class Forbidden(InvalidRequest):
    status = 403
    type = "permission_error"


class NothingOfThisName(InvalidRequest):
    status = 404


class NoSuchRoute(InvalidRequest):
    status = 404


class MethodNotAllowed(InvalidRequest):
    status = 405


class Overloaded(NotReady):
    pass


def internal_error(request_id: str) -> RequestError:
    """What a client is told of an unexpected exception: nothing but where the operator finds it."""
    return RequestError(f"an internal error ended this request; the log has it under {request_id}", code="internal")


class Problem(NamedTuple):
    """An error as one protocol sends it: a whole HTTP response."""

    status: int
    body: bytes
    headers: Headers


class OpenAIErrorBody(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct, frozen=True):
    error: OpenAIErrorBody


Envelope = Callable[[RequestError, str], Problem]
"""How a protocol shows an error; the second argument is the request's id."""


def openai_problem(error: RequestError, _request_id: str) -> Problem:
    return Problem(error.status, encode_openai_error(error), problem_headers(error))


def encode_openai_error(error: RequestError) -> bytes:
    param = None if error.param is None else _clipped(error.param)
    return json.encode(OpenAIError(OpenAIErrorBody(told(error), error.type, param, error.code)))


def told(error: RequestError) -> str:
    """The whole sentence for a client, with the hint."""
    message = _clipped(error.message)
    return f"{message.rstrip('.')}. {error.hint}" if error.hint else message


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_TOLD_CHARACTERS else text[:MAX_TOLD_CHARACTERS] + "…"


def problem_headers(error: RequestError) -> Headers:
    """The headers that an error needs beside its body."""
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if isinstance(error, TooManyRequests):
        return [(b"retry-after", str(error.retry_after_seconds).encode())]
    if error.status == 503:
        return [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    return []
