"""Our subscriber against vLLM's own publisher: the frames of live batches and of replays."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from appliance.router.events import Batch
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.mirror import WorkerMirror
from appliance.router.subscription import EventSubscription

pytestmark = [
    pytest.mark.engine,
    # torch deprecates parts of itself that vLLM's imports still reach.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NUM_MISSED = 5_000
PATIENCE_SECONDS = 60.0


def batch_storing(token: int) -> Any:
    from vllm.distributed.kv_events import BlockStored, KVEventBatch

    event = BlockStored(
        block_hashes=[token],
        parent_block_hash=None,
        token_ids=[token],
        block_size=1,
        lora_id=None,
        medium="GPU",
        lora_name=None,
        extra_keys=[("salt",)],
        group_idx=0,
        kv_cache_spec_kind="full_attention",
    )
    return KVEventBatch(ts=float(token), events=[event])


class WatchedMirror(WorkerMirror):
    """Sets `applied` with each batch."""

    def __init__(self, index: PrefixIndex) -> None:
        super().__init__(0, index, block_tokens=1)
        self.applied = asyncio.Event()

    def apply(self, batch: Batch) -> None:
        super().apply(batch)
        self.applied.set()

    async def grew_within(self, seconds: float) -> bool:
        """Whether a batch was applied since the last call, or is within `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.applied.wait()
        grew = self.applied.is_set()
        self.applied.clear()
        return grew


async def test_batches_missed_before_the_subscription_come_by_replay(tmp_path: Path) -> None:
    from vllm.distributed.kv_events import ZmqEventPublisher

    endpoints = f"ipc://{tmp_path}/live", f"ipc://{tmp_path}/replay"
    publisher = ZmqEventPublisher(0, *endpoints, buffer_steps=2 * NUM_MISSED, topic="kv")
    index = PrefixIndex()
    mirror = WatchedMirror(index)
    subscription = EventSubscription(0, *endpoints, mirror)
    for token in range(NUM_MISSED):
        publisher.publish(batch_storing(token))
    await asyncio.to_thread(publisher._event_queue.join)
    subscription.start()
    runner = asyncio.create_task(subscription.run())
    try:
        published = NUM_MISSED
        async with asyncio.timeout(PATIENCE_SECONDS):
            # A PUB socket does not tell when it has a subscriber: publish until one has seen something.
            while mirror.num_blocks == 0:
                publisher.publish(batch_storing(published))
                published += 1
                await mirror.grew_within(0.2)
            while mirror.num_blocks < published:
                await mirror.grew_within(PATIENCE_SECONDS)
        mirror.check_integrity()
        assert mirror.in_step
        stats = subscription.stats
        assert (stats.gaps, stats.resets, stats.decode_errors) == (1, 0, 0)
        assert index.match(hash_blocks([NUM_MISSED - 1], 1, extra_keys=[["salt"]]))[0, Tier.GPU] == 1
    finally:
        await subscription.close()
        publisher.shutdown()
    assert runner.cancelled()
