"""Errors as a client of Anthropic's protocol sees them."""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.api.problems import Problem, problem_headers, told
from appliance.errors import RequestError

OVERLOADED_STATUS: Final = 529
TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    503: "overloaded_error",
}


def anthropic_problem(error: RequestError, request_id: str) -> Problem:
    """The protocol has a status of its own for a server that is too busy; its SDKs try again on it."""
    status = OVERLOADED_STATUS if error.status == 503 else error.status
    return Problem(status, encode_anthropic_error(error, request_id), problem_headers(error))


def encode_anthropic_error(error: RequestError, request_id: str) -> bytes:
    body = {"type": TYPES.get(error.status, "api_error"), "message": told(error)}
    return msgspec.json.encode({"type": "error", "error": body, "request_id": request_id})
