"""A box over HTTP: its control socket on this machine, or its URL. Blocking, for a thread of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from appliance.control import UnixConnection
from appliance.errors import BoxError, SettingsError

TIMEOUT_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 60.0
MAX_ANSWER_BYTES: Final = 64 * 2**20


class LinkLost(BoxError):
    """Nothing answers there, or what answers is cut off."""


class Refused(BoxError):
    """The box answered with an error: its own words, and the status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Link:
    """One box. Keeps its connection open from request to request; `where` is how people call it."""

    def __init__(self, where: str | Path, key: str | None = None) -> None:
        """`where` is a control socket or a URL. Raises `SettingsError` for what is no URL of a box."""
        self.where = str(where)
        self._url = None if isinstance(where, Path) else _checked(where)
        self._before = "" if self._url is None else self._url.path.rstrip("/")
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._connection: http.client.HTTPConnection | None = None

    @property
    def is_local(self) -> bool:
        """Whether the box runs on this machine, as far as its address tells."""
        return self._url is None or _is_loopback(self._url.hostname or "")

    def get(self, route: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The body at `route`. Raises `LinkLost` or `Refused`."""
        return self._asked("GET", route, None, TIMEOUT_SECONDS, headers or {})

    def send(self, method: str, route: str, body: Any, timeout_seconds: float = CHANGE_SECONDS) -> bytes:
        """Have something changed or done; the box's answer. Raises as `get`."""
        headers = {"content-type": "application/json"}
        return self._asked(method, route, json.dumps(body).encode(), timeout_seconds, headers)

    def close(self) -> None:
        """From any thread: one that waits for an answer gets `LinkLost`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _opened(self, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._url is None:
            return UnixConnection(Path(self.where), timeout_seconds)
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return kind(self._url.hostname or "", self._url.port, timeout=timeout_seconds)

    def _asked(
        self, method: str, route: str, body: bytes | None, timeout_seconds: float, headers: Mapping[str, str]
    ) -> bytes:
        """A connection that was open may have been closed by the other side meanwhile: that is no loss yet."""
        was_open = self._connection is not None
        try:
            return self._exchanged(method, route, body, timeout_seconds, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not was_open or isinstance(error, TimeoutError):
                raise LinkLost(f"{self.where} does not answer: {_words(error)}") from error
        try:
            return self._exchanged(method, route, body, timeout_seconds, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise LinkLost(f"{self.where} does not answer: {_words(error)}") from error

    def _exchanged(
        self, method: str, route: str, body: bytes | None, timeout_seconds: float, headers: Mapping[str, str]
    ) -> bytes:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._opened(timeout_seconds)
        connection.timeout = timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        connection.request(method, self._before + route, body, {**self._headers, **headers})
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER_BYTES + 1)
        if len(answer) > MAX_ANSWER_BYTES:
            self.close()
            raise Refused(response.status, f"the answer to {route} is longer than {MAX_ANSWER_BYTES // 2**20} MiB")
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(response.status, _reason(answer, response.status))
        return answer


def _checked(url: str) -> Any:
    parts = urlsplit(url)
    try:
        well_formed = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        raise SettingsError(f"{url}: not the URL of a box", hint="A box is at something like http://127.0.0.1:8000")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(answer: bytes, status: int) -> str:
    """The message in an error body of the box, else the status."""
    try:
        return str(json.loads(answer)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
