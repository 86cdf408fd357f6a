"""The outermost layer: a request id on every response, keys, and no exception that reaches a client."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.api.asgi import ClientLeftError, headers_of, send_whole
from appliance.api.envelopes import envelope_of
from appliance.api.keys import Keys
from appliance.api.problems import internal_error
from appliance.errors import RequestError

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")

log = logging.getLogger(__name__)


def request_id_of(scope: Scope) -> str:
    request_id: str = scope["state"]["request_id"]
    return request_id


class Guard:
    """Pure ASGI. Sets `request_id` in `scope["state"]`, the client's own `x-request-id` when it is sane, and `role`."""

    def __init__(self, app: ASGIApp, keys: Keys, new_token: Callable[[], str]) -> None:
        self._app = app
        self._keys = keys
        self._new_token = new_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        await self._guarded(scope, receive, IdentifiedSend(send, request_id), request_id)

    async def _guarded(self, scope: Scope, receive: Receive, send: IdentifiedSend, request_id: str) -> None:
        try:
            scope["state"]["role"] = self._keys.role(scope)
            await self._app(scope, receive, send)
        except ClientLeftError as error:
            log.info("%s: %s", request_id, error)
        except RequestError as error:
            log.info("%s: %d, %s", request_id, error.status, error.message)
            await _answer(scope, send, error)
        except Exception:  # the border to the client: whatever went wrong, it gets an answer in shape
            log.exception("%s: %s %s failed", request_id, scope["method"], scope["path"])
            await _answer(scope, send, internal_error(request_id))

    def _request_id(self, scope: Scope) -> str:
        own = headers_of(scope).get("x-request-id", "")
        return own if SANE_REQUEST_ID.fullmatch(own) else f"req_{self._new_token()}"


class IdentifiedSend:
    """An ASGI `send` that adds the request's id, under both names that SDKs look for, and remembers whether a response
    has begun."""

    __slots__ = ("_request_id", "_send", "started")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode("latin-1")
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            ids = [(b"x-request-id", self._request_id), (b"request-id", self._request_id)]
            message["headers"] = [*message.get("headers", ()), *ids]
        await self._send(message)


async def _answer(scope: Scope, send: IdentifiedSend, error: RequestError) -> None:
    """Once a response has begun nothing can be said any more; the server closes the connection."""
    if not send.started:
        problem = envelope_of(scope)(error, request_id_of(scope))
        await send_whole(send, problem.status, problem.body, headers=problem.headers)
