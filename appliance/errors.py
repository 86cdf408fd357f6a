"""Every error this program reports on purpose.

BoxError                      anything the operator or a client can act on
├─ SettingsError              a settings file, variable or option is wrong
├─ StartError                 the box cannot start; says what to do
│  ├─ AlreadyRunning          another box holds this runtime directory
│  └─ EngineStartError        a vLLM worker did not come up
├─ NotRunning                 a command needs a running box and there is none
├─ WorkerDied                 an engine ended while it held a request
├─ SetAside                   a request was taken off its engine to make room
└─ RequestError               a client's request cannot be served; carries the HTTP status
   ├─ InvalidRequest          400: the request itself is wrong
   ├─ Unauthorized            401: no key, or a wrong one
   ├─ UnknownModel            404: no such model here
   ├─ ContextTooLong          400: prompt and answer do not fit the context
   ├─ CancelledByOperator     499: an operator ended it
   ├─ NotReady                503: starting, draining, or no worker alive
   └─ GenerationFailed        500: the engine gave up on the request
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BoxError(Exception):
    """Base of all. `str(error)` is one clear sentence for the operator; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(BoxError):
    """Names the source (file and line, variable or option), the key, the value and the nearest valid one."""


class StartError(BoxError):
    """The box cannot start on this machine as it is."""


class AlreadyRunning(StartError):
    """Another box holds the runtime directory."""


class EngineStartError(StartError):
    """A vLLM worker did not come up."""


class NotRunning(BoxError):
    """A command needs a running box and there is none."""


class WorkerDied(BoxError):
    """An engine ended while it held a request. Internal: the pipeline resumes the request elsewhere."""


class SetAside(BoxError):
    """A request was taken off its engine to make room. Internal: the pipeline resumes it when its turn has come."""


class RequestError(BoxError):
    """A request that cannot be served. `type`, `param` and `code` travel in the protocol's error body."""

    status = 500
    type = "server_error"

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.param = param
        self.code = code


class InvalidRequest(RequestError):
    status = 400
    type = "invalid_request_error"


class Unauthorized(RequestError):
    status = 401
    type = "authentication_error"


class UnknownModel(RequestError):
    status = 404
    type = "invalid_request_error"


class ContextTooLong(RequestError):
    status = 400
    type = "invalid_request_error"


class TooManyRequests(RequestError):
    """`retry_after_seconds` is when there may be room again, as far as can be told."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_seconds: int, code: str | None = None) -> None:
        super().__init__(message, code=code, hint=f"Try again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class CancelledByOperator(RequestError):
    """An operator ended the request. 499 is a status after which no SDK asks again by itself."""

    status = 499
    type = "request_cancelled"

    def __init__(self, by: str) -> None:
        super().__init__(f"{by} cancelled this request", code="cancelled_by_operator")


class NotReady(RequestError):
    status = 503
    type = "service_unavailable"


class GenerationFailed(RequestError):
    status = 500
    type = "server_error"


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or `None` when none is close."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return matches[0] if matches else None
