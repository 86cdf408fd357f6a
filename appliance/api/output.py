"""The response of one generation: nothing is sent before it is known what to send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from starlette.types import Send

from appliance.api.asgi import send_whole
from appliance.api.problems import Headers
from appliance.api.sse import EVENT_STREAM

STREAM_HEADERS: Headers = [
    (b"content-type", EVENT_STREAM),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # else nginx gathers tokens before it passes them on
]


class Output:
    """Either a stream (`write` … `close`) or one `whole` response. `started` says whether a byte was sent."""

    def __init__(self, send: Send, clock: Callable[[], float] = monotonic) -> None:
        self._send = send
        self._clock = clock
        self._turn = asyncio.Lock()
        self._quiet_since = clock()
        self.started = False

    @property
    def quiet_seconds(self) -> float:
        """Since when nothing was sent."""
        return self._clock() - self._quiet_since

    @property
    def is_writing(self) -> bool:
        """Whether something waits to be sent: the client does not take it as fast as it is made."""
        return self._turn.locked()

    async def write(self, frames: bytes) -> None:
        """Send whole frames; the first ones start the stream. Two tasks may write, frames are never mixed."""
        await self._write(frames, more=True)

    async def close(self, frames: bytes) -> None:
        """Send the last frames and end the stream."""
        await self._write(frames, more=False)

    async def whole(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        self.started = True
        await send_whole(self._send, status, body, headers=headers)

    async def _write(self, frames: bytes, *, more: bool) -> None:
        async with self._turn:
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": list(STREAM_HEADERS)})
            await self._send({"type": "http.response.body", "body": frames, "more_body": more})
            self._quiet_since = self._clock()
