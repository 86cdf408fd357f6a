"""Who may use the API."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import Scope

from appliance.api.asgi import headers_of
from appliance.errors import Unauthorized

GUARDED = ("/v1/", "/box/")
HINT = "Send `Authorization: Bearer KEY` or `x-api-key: KEY`."


class Keys:
    """The keys that open `/v1/` and `/box/`; with none, everything is open."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so a comparison tells nothing about the length of a key either.
        self._digests = tuple(_digest(key) for key in keys)

    def check(self, scope: Scope) -> None:
        """Raises `Unauthorized` unless the request may pass."""
        if not self._digests or not _is_guarded(scope) or is_local_socket(scope):
            return
        offered = _offered(headers_of(scope))
        if not offered:
            raise Unauthorized("this box needs an API key", code="missing_api_key", hint=HINT)
        if not sum(self._is_known(key) for key in offered):
            raise Unauthorized("the API key is not one of this box's", code="invalid_api_key", hint=HINT)

    def _is_known(self, key: str) -> bool:
        """Compares with every key, whichever matches, so that time tells nothing."""
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def is_local_socket(scope: Scope) -> bool:
    """Whether the request came over a Unix socket: no client address, and a server path without a port.

    Both are asked, since a client that has already gone leaves no address on TCP either.
    """
    server = scope.get("server")
    return scope.get("client") is None and server is not None and server[1] is None


def _is_guarded(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")).startswith(GUARDED)


def _offered(headers: dict[str, str]) -> list[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, headers.get("x-api-key", "").strip()) if key]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
