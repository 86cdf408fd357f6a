"""Who may use the API, and for what."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from appliance.api.asgi import headers_of
from appliance.api.problems import Forbidden
from appliance.errors import Unauthorized

GUARDED = ("/v1/", "/box/")
HINT = "Send `Authorization: Bearer KEY` or `x-api-key: KEY`."
LOOKING: Final = ("GET", "HEAD")
SEEN_BY_VIEWERS: Final = ("/box/", "/v1/models")


class Role(StrEnum):
    CLIENT = "client"
    """Asks for answers."""
    VIEWER = "viewer"
    """Looks at the box, and changes nothing."""
    OPERATOR = "operator"
    """Looks at the box and steers it."""


class Keys:
    """The keys that open `/v1/` and `/box/`; with none of the first kind, everything is open to clients.

    A key of `operators` makes an operator of who sends it, from wherever, one of `viewers` somebody who looks only.
    Without such a key those on the box's own machine are operators.
    """

    def __init__(self, keys: Iterable[str], operators: Iterable[str] = (), viewers: Iterable[str] = ()) -> None:
        # Digests have one length, so a comparison tells nothing about the length of a key either.
        self._digests = tuple(map(_digest, keys))
        self._operators = tuple(map(_digest, operators))
        self._viewers = tuple(map(_digest, viewers))

    def role(self, scope: Scope) -> Role:
        """Raises `Unauthorized` unless the request may pass, and `Forbidden` for what a viewer may not do."""
        if is_local_socket(scope):
            return Role.OPERATOR
        offered = [_digest(key) for key in _offered(headers_of(scope))]
        known, operator, viewer = (
            _is_among(offered, digests) for digests in (self._digests, self._operators, self._viewers)
        )
        if operator:
            return Role.OPERATOR
        if viewer and not known:
            _refuse_changes(scope)
            return Role.VIEWER
        if self._digests and _is_guarded(scope) and not known:
            _refuse(offered)
        return Role.OPERATOR if is_loopback(scope) else Role.CLIENT


def is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ip_address(client[0]).is_loopback
    except ValueError:
        return False


def is_local_socket(scope: Scope) -> bool:
    """Whether the request came over a Unix socket: no client address, and a server path without a port.

    Both are asked, since a client that has already gone leaves no address on TCP either.
    """
    server = scope.get("server")
    return scope.get("client") is None and server is not None and server[1] is None


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_guarded(scope: Scope) -> bool:
    return _path(scope).startswith(GUARDED)


def _refuse(offered: list[bytes]) -> None:
    if not offered:
        raise Unauthorized("this box needs an API key", code="missing_api_key", hint=HINT)
    raise Unauthorized("the API key is not one of this box's", code="invalid_api_key", hint=HINT)


def _refuse_changes(scope: Scope) -> None:
    if _is_guarded(scope) and not (scope["method"] in LOOKING and _path(scope).startswith(SEEN_BY_VIEWERS)):
        raise Forbidden("this API key may look at the box, and do nothing else", code="read_only_key")


def _is_among(offered: list[bytes], known: tuple[bytes, ...]) -> bool:
    """Compares all with all, whichever match, so that time tells nothing."""
    return sum(hmac.compare_digest(one, other) for one in offered for other in known) > 0


def _offered(headers: dict[str, str]) -> list[str]:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    bearer = credentials.strip() if scheme.lower() == "bearer" else ""
    return [key for key in (bearer, headers.get("x-api-key", "").strip()) if key]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
