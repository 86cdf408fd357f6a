"""The console in a browser: each page that is opened runs a console of its own, on this machine and for it alone."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from textual_serve.server import Server

HOST: Final = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BrowserConsole(Server):
    """Listens on loopback. Who gives one of `keys` as the password is let in; with none, everybody on this machine is.
    What asks under another name than this machine's is another site's page in the same browser: it is refused."""

    def __init__(self, command: str, port: int, keys: Sequence[str]) -> None:
        super().__init__(command, host=HOST, port=port, title="dynamo-box")
        self._keys = keys

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guarded)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        own = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        origin = request.headers.get("origin")
        if request.headers.get("host") not in own or (origin and origin.partition("//")[2] not in own):
            raise web.HTTPForbidden(text=f"This console is at http://{HOST}:{self.port}\n")
        if self._keys and not self._opens(request.headers.get("authorization", "")):
            raise web.HTTPUnauthorized(
                text="Give a key of the box as the password.\n",
                headers={"www-authenticate": 'Basic realm="dynamo-box", charset="UTF-8"'},
            )
        return await handler(request)

    def _opens(self, authorization: str) -> bool:
        """Compares with every key, whichever matches, so that time tells nothing."""
        try:
            text = base64.b64decode(authorization.removeprefix("Basic "), validate=True)
        except (binascii.Error, ValueError):
            return False
        password = text.partition(b":")[2]
        return sum(hmac.compare_digest(password, key.encode()) for key in self._keys) > 0
