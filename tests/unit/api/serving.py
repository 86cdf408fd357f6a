"""An app behind the real server on the loopback, and clients that misbehave as no HTTP library would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from appliance.endpoint import bind_tcp


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[int]:
    """The port on which the app is served as the supervisor does it."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    server = _Server(config)
    with bind_tcp("127.0.0.1", 0) as listener:
        task = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def client_on(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10)


def request_bytes(path: str, body: bytes, *, length: int | None = None) -> bytes:
    """A whole request, whose announced `length` may be a lie."""
    announced = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nhost: box\r\ncontent-length: {announced}\r\n\r\n".encode() + body


class SlowClient:
    """A socket whose reader takes what the test lets it take; the kernel buffers little for it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)
        self._port = port

    async def send(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._socket, request)

    async def read(self, num_bytes: int) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self._socket, num_bytes)

    def leave(self) -> None:
        self._socket.close()

    def __enter__(self) -> SlowClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.leave()
