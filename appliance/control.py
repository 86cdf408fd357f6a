"""Ask and tell a box over its control socket. Standard library only: `status` should feel instant."""

from __future__ import annotations

import http
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.errors import BoxError, NotRunning

TIMEOUT_SECONDS = 10.0
CHANGE_SECONDS = 60.0
STREAM_SECONDS = 60.0
"""A stream is never quiet for so long: the box sends comments."""
DATA = b"data: "


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Control:
    """The box whose control socket is at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, route: str) -> Any:
        """The JSON document at `route`.

        Raises `NotRunning` when nothing answers there, `BoxError` when the answer is not what was asked for.
        """
        status, document = self._document("GET", route, TIMEOUT_SECONDS)
        if status != http.HTTPStatus.OK:
            raise BoxError(f"the box at {self._path} answered {route} with status {status}: {_reason(document)}")
        return document

    def events(self, route: str) -> Iterator[Any]:
        """The JSON of each event of the stream at `route`, until it ends. Raises as `get`; `NotRunning` also when the
        box is gone in the middle."""
        connection = UnixConnection(self._path, STREAM_SECONDS)
        try:
            connection.request("GET", route)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise BoxError(_reason(json.loads(response.read())))
            for line in response:
                if line.startswith(DATA):
                    yield json.loads(line.removeprefix(DATA))
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning(f"no box answers at {self._path}", hint="`dynamo-box up` starts one.") from error
        finally:
            connection.close()

    def put(self, route: str, body: Any) -> Any:
        """Change what is at `route`; the box's answer.

        Raises `NotRunning` when nothing answers there, `BoxError` with the box's own words when it refuses.
        """
        return self._accepted("PUT", route, body, CHANGE_SECONDS)

    def post(self, route: str, body: Any, timeout_seconds: float) -> Any:
        """Have something done that may take so long; the box's answer. Raises as `put`."""
        return self._accepted("POST", route, body, timeout_seconds)

    def delete(self, route: str) -> Any:
        """Remove what is at `route`; the box's answer. Raises as `put`."""
        return self._accepted("DELETE", route, None, CHANGE_SECONDS)

    def _accepted(self, method: str, route: str, body: Any, timeout_seconds: float) -> Any:
        status, document = self._document(method, route, timeout_seconds, None if body is None else json.dumps(body))
        if status != http.HTTPStatus.OK:
            raise BoxError(_reason(document))
        return document

    def _document(self, method: str, route: str, timeout_seconds: float, body: str | None = None) -> tuple[int, Any]:
        status, answer = self._ask(method, route, UnixConnection(self._path, timeout_seconds), body)
        try:
            return status, json.loads(answer)
        except ValueError as error:
            raise BoxError(f"the box at {self._path} answered {route} with status {status} and no JSON") from error

    def _ask(self, method: str, route: str, connection: UnixConnection, body: str | None) -> tuple[int, bytes]:
        try:
            connection.request(method, route, body)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotRunning(f"no box answers at {self._path}", hint="`dynamo-box up` starts one.") from error
        finally:
            connection.close()


def _reason(document: Any) -> str:
    """The message in an error body of the box, else the body itself."""
    try:
        return str(document["error"]["message"])
    except (KeyError, TypeError):
        return json.dumps(document)
