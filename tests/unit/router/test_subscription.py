from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import zmq
import zmq.asyncio

from appliance.router.events import Batch
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.subscription import END_OF_REPLAY, EventSubscription

PATIENCE_SECONDS = 10.0


def stored(token: int) -> bytes:
    """A batch that stores the one-token prompt `token`."""
    event = {
        "type": "BlockStored",
        "block_hashes": [token],
        "parent_block_hash": None,
        "token_ids": [token],
        "block_size": 1,
    }
    return msgspec.msgpack.encode([0.0, [event], 0])


class WatchedMirror(WorkerMirror):
    """Sets `changed` whenever something was applied or forgotten."""

    def __init__(self, index: PrefixIndex, changed: asyncio.Event) -> None:
        super().__init__(0, index, block_tokens=1)
        self._changed = changed

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        self._changed.set()

    def reset(self, *, engine_is_empty: bool = False) -> None:
        super().reset(engine_is_empty=engine_is_empty)
        self._changed.set()


class Publisher:
    """An engine's side of the wire: frames like vLLM's, and losses on demand."""

    def __init__(self, context: zmq.asyncio.Context, folder: Path, changed: asyncio.Event) -> None:
        self._changed = changed
        self.endpoint, self.replay_endpoint = f"ipc://{folder}/live", f"ipc://{folder}/replay"
        self.buffer: deque[tuple[int, bytes]] = deque()
        self.requests: list[int] = []
        self.answers_per_request: int | None = None
        self.is_silent = False
        self._pub = context.socket(zmq.XPUB)
        self._router = context.socket(zmq.ROUTER)
        for socket, endpoint in ((self._pub, self.endpoint), (self._router, self.replay_endpoint)):
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(endpoint)

    async def subscribed(self) -> None:
        """Returns once a subscription has arrived: nothing published from here on is lost."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._pub.recv()

    async def send(self, seq: int, payload: bytes | None = None, *, is_seen: bool = True) -> None:
        payload = stored(seq) if payload is None else payload
        self.buffer.append((seq, payload))
        if is_seen:
            await self.send_frames(b"topic", seq.to_bytes(8, "big"), payload)

    async def send_frames(self, *frames: bytes) -> None:
        await self._pub.send_multipart(list(frames))

    async def serve_replays(self) -> None:
        while True:
            client, empty, start = await self._router.recv_multipart()
            assert empty == b""
            self.requests.append(int.from_bytes(start, "big"))
            self._changed.set()
            if self.is_silent:
                continue
            kept = [(seq, payload) for seq, payload in self.buffer if seq >= self.requests[-1]]
            for seq, payload in kept[: self.answers_per_request]:
                await self._router.send_multipart([client, b"", b"topic", seq.to_bytes(8, "big"), payload])
            await self._router.send_multipart([client, b"", b"", END_OF_REPLAY, b""])

    def close(self) -> None:
        self._pub.close()
        self._router.close()


class Setup:
    """A publisher, a running subscription, and what it learned."""

    def __init__(self, context: zmq.asyncio.Context, folder: Path) -> None:
        self._changed = asyncio.Event()
        self.index = PrefixIndex()
        self.mirror = WatchedMirror(self.index, self._changed)
        self.publisher = Publisher(context, folder, self._changed)
        self.subscription = EventSubscription(
            0,
            self.publisher.endpoint,
            self.publisher.replay_endpoint,
            self.mirror,
            context=context,
            replay_timeout_seconds=PATIENCE_SECONDS,
        )
        self.stats = self.subscription.stats

    def holds(self, *tokens: int) -> bool:
        """Whether exactly these one-token prompts are known."""
        known = all(self.index.match(hash_blocks([token], 1))[0, Tier.GPU] for token in tokens)
        return known and self.index.num_blocks(0) == len(tokens)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await self._changed.wait()
                self._changed.clear()
        self.mirror.check_integrity()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Setup]:
    with zmq.asyncio.Context() as context:
        setup = Setup(context, folder)
        setup.subscription.start()
        tasks = [
            asyncio.create_task(setup.subscription.run()),
            asyncio.create_task(setup.publisher.serve_replays()),
        ]
        await setup.publisher.subscribed()
        try:
            yield setup
        finally:
            await setup.subscription.close()
            assert tasks[0].cancelled()
            tasks[1].cancel()
            await asyncio.wait(tasks)
            setup.publisher.close()


async def test_batches_are_applied_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        for seq in range(3):
            await setup.publisher.send(seq)
        await setup.until(lambda: setup.holds(0, 1, 2))
        assert (setup.stats.applied_batches, setup.stats.last_seq, setup.stats.gaps) == (3, 2, 0)
        assert setup.mirror.in_step


async def test_what_was_missed_before_the_first_batch_is_replayed(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.publisher.send(0, is_seen=False)
        await setup.publisher.send(1)
        await setup.until(lambda: setup.holds(0, 1))
        assert setup.publisher.requests == [0]
        assert (setup.stats.gaps, setup.stats.resets) == (1, 0)
        assert setup.mirror.in_step


async def test_a_gap_is_filled_and_what_came_twice_is_skipped(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.publisher.send(0)
        await setup.publisher.send(1, is_seen=False)
        for seq in (2, 3, 4):
            await setup.publisher.send(seq)
        await setup.until(lambda: setup.stats.last_seq == 4)
        await setup.publisher.send(5)
        await setup.until(lambda: setup.holds(0, 1, 2, 3, 4, 5))
        assert (setup.stats.applied_batches, setup.stats.gaps, setup.stats.resets) == (6, 1, 0)
        assert 1 <= setup.stats.duplicates <= setup.stats.replayed_batches
        assert setup.mirror.in_step


async def test_holes_in_a_replay_are_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        setup.publisher.answers_per_request = 2
        for seq in range(5):
            await setup.publisher.send(seq, is_seen=False)
        await setup.publisher.send(5)
        await setup.until(lambda: setup.holds(*range(6)))
        assert setup.publisher.requests == [0, 2, 4]
        assert (setup.stats.gaps, setup.stats.resets) == (1, 0)


async def test_a_gap_older_than_the_buffer_resets_and_keeps_what_is_left(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.publisher.send(0)
        for seq in (1, 2, 3):
            await setup.publisher.send(seq, is_seen=False)
        del setup.publisher.buffer[0], setup.publisher.buffer[0]
        await setup.publisher.send(4)
        await setup.until(lambda: setup.holds(2, 3, 4))
        assert setup.stats.resets == 1
        assert not setup.mirror.in_step


async def test_a_buffer_that_begins_behind_the_gap_leaves_the_live_batches(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        setup.publisher.buffer.append((9, stored(9)))
        await setup.publisher.send_frames(b"", (2).to_bytes(8, "big"), stored(2))
        await setup.publisher.send_frames(b"", (3).to_bytes(8, "big"), stored(3))
        await setup.until(lambda: setup.holds(2, 3))
        assert (setup.stats.resets, setup.stats.replayed_batches) == (1, 0)


async def test_a_silent_replay_resets_and_counting_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        setup.publisher.is_silent = True
        setup.subscription._replay_timeout_seconds = 0.01
        await setup.publisher.send(0)
        await setup.publisher.send(2)
        await setup.publisher.send(3)
        await setup.until(lambda: setup.holds(2, 3))
        assert (setup.stats.gaps, setup.stats.resets) == (1, 1)
        assert not setup.mirror.in_step


async def test_a_sender_that_begins_again_replaces_what_was_known(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        for seq in range(3):
            await setup.publisher.send(seq)
        await setup.until(lambda: setup.stats.last_seq == 2)
        setup.publisher.buffer.clear()
        await setup.publisher.send(0, stored(70), is_seen=False)
        await setup.publisher.send(1, stored(71))
        await setup.until(lambda: setup.holds(70, 71))
        assert setup.stats.resets == 1
        assert setup.mirror.in_step


async def test_an_undecodable_batch_is_lost_and_the_next_applies(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.publisher.send(0)
        await setup.publisher.send(1, b"\xc1")
        await setup.publisher.send(2)
        await setup.until(lambda: setup.holds(2))
        assert (setup.stats.decode_errors, setup.stats.resets, setup.stats.gaps) == (1, 1, 0)
        assert not setup.mirror.in_step


async def test_frames_without_a_number_show_as_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        await setup.publisher.send(0, is_seen=False)
        await setup.publisher.send_frames(b"topic", stored(0))
        await setup.publisher.send(1)
        await setup.until(lambda: setup.holds(0, 1))
        assert (setup.stats.decode_errors, setup.stats.gaps, setup.stats.resets) == (1, 1, 0)


async def test_closing_in_the_midst_of_a_replay_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as setup:
        setup.publisher.is_silent = True
        await setup.publisher.send(3)
        await setup.until(lambda: setup.publisher.requests == [0])


async def test_close_is_final_idempotent_and_allowed_without_a_start(tmp_path: Path) -> None:
    mirror = WorkerMirror(0, PrefixIndex(), 1)
    endpoints = (f"ipc://{tmp_path}/none", f"ipc://{tmp_path}/neither")
    never_started = EventSubscription(0, *endpoints, mirror)
    await never_started.close()
    started = EventSubscription(0, *endpoints, mirror)
    started.start()
    await started.close()
    await started.close()
    with pytest.raises(RuntimeError, match="before start"):
        await started.run()
