"""Errors as a client of Anthropic's protocol sees them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, json

from appliance.api.problems import Problem, problem_headers, told
from appliance.errors import RequestError

OVERLOADED_STATUS: Final = 529
TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    499: "invalid_request_error",
    503: "overloaded_error",
}


class AnthropicErrorBody(Struct, frozen=True):
    type: str
    message: str


class AnthropicError(Struct, frozen=True, tag="error"):
    error: AnthropicErrorBody
    request_id: str


def anthropic_problem(error: RequestError, request_id: str) -> Problem:
    """The protocol has a status of its own for a server that is too busy; its SDKs try again on it."""
    status = OVERLOADED_STATUS if error.status == 503 else error.status
    return Problem(status, encode_anthropic_error(error, request_id), problem_headers(error))


def encode_anthropic_error(error: RequestError, request_id: str) -> bytes:
    body = AnthropicErrorBody(TYPES.get(error.status, "api_error"), told(error))
    return json.encode(AnthropicError(body, request_id))
