"""Ask a box over its control socket. Standard library only: `status` should feel instant."""

from __future__ import annotations

import http
import http.client
import json
import socket
from pathlib import Path
from typing import Any

from appliance.errors import BoxError, NotRunning

TIMEOUT_SECONDS = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Control:
    """Reads from the box whose control socket is at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, route: str) -> Any:
        """The JSON document at `route`.

        Raises `NotRunning` when nothing answers there, `BoxError` when the answer is not what was asked for.
        """
        status, body = self._ask(route)
        try:
            document = json.loads(body)
        except ValueError as error:
            raise BoxError(f"the box at {self._path} answered {route} with status {status} and no JSON") from error
        if status != http.HTTPStatus.OK:
            raise BoxError(f"the box at {self._path} answered {route} with status {status}: {_reason(document)}")
        return document

    def _ask(self, route: str) -> tuple[int, bytes]:
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", route)
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
