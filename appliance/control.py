"""Ask a box over its control socket, or any box over HTTP. Standard library only: `status` should feel instant."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from appliance.errors import NotRunning

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
        """The JSON document at `route`. Raises `NotRunning` when nothing answers there."""
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", route)
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotRunning(f"no box answers at {self._path}", hint="`dynamo-box up` starts one.") from error
        finally:
            connection.close()
