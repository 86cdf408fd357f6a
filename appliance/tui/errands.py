"""What the user has the box do: one errand at a time, beside the frames and never in the loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import msgspec

from appliance.tui.link import Link

T = TypeVar("T")


class Errands(Protocol):
    """Where what the user wants is sent to."""

    async def send(self, method: str, route: str, body: Any) -> bytes:
        """The box's answer. Raises `LinkLost`, and `Refused` with its words."""
        ...

    def close(self) -> None: ...


class LinkErrands:
    """`Errands` over a connection of its own, so that none waits for a frame, nor a frame for it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._thread = ThreadPoolExecutor(1, "errands")

    async def send(self, method: str, route: str, body: Any) -> bytes:
        loop = asyncio.get_running_loop()
        if method == "GET":
            return await loop.run_in_executor(self._thread, self._link.get, route)
        return await loop.run_in_executor(self._thread, self._link.send, method, route, body)

    def close(self) -> None:
        self._link.close()
        self._thread.shutdown(wait=False, cancel_futures=True)


async def answered(errands: Errands, method: str, route: str, body: Any, type_: type[T]) -> T:
    """The answer as a view. Raises as `Errands.send`."""
    return msgspec.json.decode(await errands.send(method, route, body), type=type_)
