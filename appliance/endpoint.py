"""The sockets a box listens on, bound before anything heavy starts, so that a taken port is known at once."""

from __future__ import annotations

import socket
from pathlib import Path

from appliance.errors import StartError

BACKLOG = 2048
# What the kernel allows in the name of a Unix socket, its closing zero included.
UNIX_PATH_BYTES = 108


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening socket on `host:port`; port 0 takes any free one. Raises `StartError` naming what is wrong."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small pieces at once only where the protocol is named; without, each SSE frame may wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"server.host = {host!r}, server.port = {port}: {error.strerror or error}.",
            hint=f"Take another port: `--port {port + 1}`, or `--port 0` for any free one.",
        ) from error
    listener.setblocking(False)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """A listening socket at `path`, for this user only. A stale file there is replaced: hold the lock."""
    if len(bytes(path)) >= UNIX_PATH_BYTES:
        raise StartError(
            f"paths.runtime: {path} is too long for a socket ({len(bytes(path))} of {UNIX_PATH_BYTES - 1} bytes).",
            hint="Set paths.runtime to a shorter folder.",
        )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """The URL that reaches a listening TCP socket from this machine."""
    port = listener.getsockname()[1]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 – read, not bound
    return f"http://{reachable}:{port}"
