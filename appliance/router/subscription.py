"""Follows one worker's event stream without a gap, or says so.

The engine publishes each batch once, as frames `[topic, sequence number, payload]` (8 bytes, big-endian, from 0), and
keeps the last ones for replay: to a request `[b"", first number]` it answers `[b"", topic, number, payload]` for each
batch it still has, then an end marker with the number -1. A publish nobody received is lost, so numbers are checked.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import zmq
import zmq.asyncio

from appliance.router.errors import UndecodableBatch
from appliance.router.event_log import EventLog
from appliance.router.mirror import WorkerMirror
from appliance.router.wire_events import decode_batch

SEQUENCE_BYTES = 8
END_OF_REPLAY = (-1).to_bytes(SEQUENCE_BYTES, "big", signed=True)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SubscriptionStats:
    """Counted since the subscription was made. Each batch that did not arrive in order shows up in one of these."""

    applied_batches: int = 0
    replayed_batches: int = 0
    """Those of the applied batches that came by replay."""
    gaps: int = 0
    """How often a live batch came whose predecessor had not been seen."""
    resets: int = 0
    """How often the mirror was reset: a batch was lost, or the sender began again."""
    duplicates: int = 0
    """Live batches skipped because a replay had brought them already."""
    decode_errors: int = 0
    last_seq: int | None = None
    """Number of the newest applied batch."""


class EventSubscription:
    """Keeps `mirror` in step with the engine behind `endpoint`, for the life of that engine.

    `start()` connects, `run()` applies batches until `close()`. While a replay runs, live batches wait in the socket,
    at most `high_water_batches`; what overflows is dropped there and comes back as the next gap. A batch that cannot be
    had or decoded resets the mirror, and counting goes on behind it. A number that does not rise means that the sender
    began again: everything from its 0 is asked for. (A new engine whose first numbers are lost and whose
    first seen number is higher than the last cannot be told from a gap: make a new subscription for a new engine.)

    `replay_timeout_seconds` is the longest silence accepted between two answers to a replay. What is applied is also
    written to `event_log`, which stays its owner's.
    """

    def __init__(
        self,
        worker: int,
        endpoint: str,
        replay_endpoint: str,
        mirror: WorkerMirror,
        *,
        context: zmq.asyncio.Context | None = None,
        replay_timeout_seconds: float = 5.0,
        high_water_batches: int = 100_000,
        event_log: EventLog | None = None,
    ) -> None:
        self.worker = worker
        self.stats = SubscriptionStats()
        self._endpoint = endpoint
        self._replay_endpoint = replay_endpoint
        self._mirror = mirror
        self._context = zmq.asyncio.Context() if context is None else context
        self._owns_context = context is None
        self._replay_timeout_seconds = replay_timeout_seconds
        self._high_water_batches = high_water_batches
        self._event_log = event_log
        self._live: zmq.asyncio.Socket | None = None
        self._runner: asyncio.Task[None] | None = None
        self._next_seq = 0
        self._last_live_seq: int | None = None

    def start(self) -> None:
        """Connect and begin to receive; nothing is applied before `run()`. The endpoint need not exist yet."""
        self._live = self._connect(zmq.SUB, self._endpoint)
        self._live.subscribe(b"")

    async def run(self) -> None:
        """Apply batches until cancelled or closed; then raises `asyncio.CancelledError`. Needs `start()`."""
        if self._live is None:
            raise RuntimeError(f"subscription to worker {self.worker}: run() before start()")
        self._runner = asyncio.current_task()
        while True:
            await self._receive(await self._live.recv_multipart())
            # A receive that finds a batch waiting does not yield: a burst would hold up the whole loop.
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Cancel a `run()` in progress, wait for its end, and close all sockets. Final and idempotent."""
        if self._runner is not None and not self._runner.done():
            self._runner.cancel()
            await asyncio.wait([self._runner])
        if self._live is not None:
            self._live.close()
            self._live = None
        if self._owns_context:
            self._context.term()

    async def _receive(self, frames: list[bytes]) -> None:
        if len(frames) != 3 or len(frames[1]) != SEQUENCE_BYTES:
            # Its number is unknown; the next batch shows a gap.
            self.stats.decode_errors += 1
            return
        seq, payload = int.from_bytes(frames[1], "big"), frames[2]
        if self._last_live_seq is not None and seq <= self._last_live_seq:
            self._begin_again(seq)
        self._last_live_seq = seq
        if seq > self._next_seq:
            await self._fill(seq)
        if seq < self._next_seq:
            self.stats.duplicates += 1
        else:
            self._take(seq, payload)

    def _begin_again(self, seq: int) -> None:
        logger.warning(
            "worker %d: event %d came after %s: the engine began again", self.worker, seq, self._last_live_seq
        )
        self._mirror.reset(engine_is_empty=True)
        self.stats.resets += 1
        self._next_seq = 0

    def _lose(self, next_seq: int, reason: str) -> None:
        logger.warning("worker %d: events %d to %d: %s", self.worker, self._next_seq, next_seq - 1, reason)
        self._mirror.reset()
        self.stats.resets += 1
        self._next_seq = next_seq

    def _take(self, seq: int, payload: bytes) -> None:
        try:
            batch = decode_batch(payload)
        except UndecodableBatch as error:
            self.stats.decode_errors += 1
            self._lose(seq + 1, str(error))
            return
        self._mirror.apply(batch)
        if self._event_log is not None:
            self._event_log.record(self.worker, seq, payload)
        self._next_seq = seq + 1
        self.stats.applied_batches += 1
        self.stats.last_seq = seq

    async def _fill(self, until_seq: int) -> None:
        """Bring `_next_seq` to `until_seq` or beyond, by replay as far as possible."""
        self.stats.gaps += 1
        while self._next_seq < until_seq:
            asked_seq = self._next_seq
            await self._replay(until_seq)
            if self._next_seq == asked_seq:
                self._lose(until_seq, "could not be replayed")

    async def _replay(self, until_seq: int) -> None:
        """Ask once for all from `_next_seq` on and apply the answers up to the first hole.

        The engine's ROUTER drops what exceeds its queue (1,000 messages), so a long replay has holes, which a new
        request fills. A fresh socket's queue is empty: when even its *first* answer is too new, the rest is gone.
        """
        socket = self._connect(zmq.DEALER, self._replay_endpoint)
        try:
            await socket.send_multipart([b"", self._next_seq.to_bytes(SEQUENCE_BYTES, "big")])
            is_first = True
            while (answer := await self._answer(socket)) is not None:
                seq, payload = answer
                if is_first and self._next_seq < seq < until_seq:
                    self._lose(seq, "no longer kept by the engine")
                if seq != self._next_seq:
                    return
                is_first = False
                self._take(seq, payload)
                self.stats.replayed_batches += 1
                await asyncio.sleep(0)
        finally:
            socket.close()

    async def _answer(self, socket: zmq.asyncio.Socket) -> tuple[int, bytes] | None:
        """The next replayed batch; `None` at the end marker, after a silence, or for frames that are no answer."""
        try:
            async with asyncio.timeout(self._replay_timeout_seconds):
                frames = await socket.recv_multipart()
        except TimeoutError:
            return None
        if len(frames) != 4 or frames[2] == END_OF_REPLAY:
            return None
        return int.from_bytes(frames[2], "big"), frames[3]

    def _connect(self, kind: int, endpoint: str) -> zmq.asyncio.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, self._high_water_batches)
        socket.connect(endpoint)
        return socket
