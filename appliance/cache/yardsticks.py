"""What a policy is measured against: the optimum, first-in-first-out, and a cache without end.

Both orders are a fixed key per block, given when it is let go: the block with the largest key goes first. For the
optimum the key is the next request that asks for the block: Belady's rule, which is optimal when all blocks cost the
same. A parent's next use is never later than its child's, so the rule respects the prefix tree when ties go to the
child. A block that was just used may be the first to go: that is the bypass.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from appliance.cache.kernel import entry, kernel
from appliance.cache.trace import Trace

DEPTH_BITS: Final = 20
"""Keys are (request, depth); a prompt of a million blocks is longer than any."""

Integers = NDArray[np.int64]


class Yardstick(IntEnum):
    FIFO = 0
    OPTIMUM = 1


def unbounded_hits(trace: Trace) -> Integers:
    """Blocks of each request that a cache without end would have found."""
    return np.asarray(_unbounded(trace.offsets, trace.blocks, trace.block_count))


def yardstick_hits(trace: Trace, events: Integers, yardstick: Yardstick, capacity_blocks: int) -> Integers:
    """Blocks of each request found at its start. `events` is what `timeline` gave: it tells which blocks count."""
    next_use = _next_uses(trace.offsets, trace.blocks, trace.block_count)
    hits = _replay(trace.offsets, trace.blocks, next_use, trace.block_count, events, yardstick.value, capacity_blocks)
    return np.asarray(hits)


@entry
def _unbounded(offsets: Any, blocks: Any, block_count: int) -> Any:
    seen = np.zeros(block_count, np.bool_)
    hits = np.zeros(len(offsets) - 1, np.int64)
    for request in range(len(hits)):
        is_prefix = True
        for place in range(offsets[request], offsets[request + 1]):
            block = blocks[place]
            is_prefix = is_prefix and seen[block]
            hits[request] += is_prefix
            seen[block] = True
    return hits


@entry
def _next_uses(offsets: Any, blocks: Any, block_count: int) -> Any:
    """For each access the next request with the same block; the number of requests where there is none."""
    requests = len(offsets) - 1
    upcoming = np.full(block_count, requests, np.int64)
    next_use = np.empty(len(blocks), np.int64)
    for request in range(requests - 1, -1, -1):
        for place in range(offsets[request], offsets[request + 1]):
            next_use[place] = upcoming[blocks[place]]
            upcoming[blocks[place]] = request
    return next_use


@entry
def _replay(  # noqa: C901 – one loop over flat arrays; cut up, it would hand ten of them around
    offsets: Any, blocks: Any, next_use: Any, block_count: int, events: Any, yardstick: int, capacity_blocks: int
) -> Any:
    hits = np.zeros(len(offsets) - 1, np.int64)
    is_resident = np.zeros(block_count, np.bool_)
    holders = np.zeros(block_count, np.int32)
    key = np.zeros(block_count, np.int64)
    # A max-heap of (key, block); an entry whose key is no longer the block's is stale.
    heap_keys, heap_blocks, heap_size = np.empty(1024, np.int64), np.empty(1024, np.int32), 0
    idle = 0
    for event in range(len(events)):
        request = events[event] >> 1
        first, end = offsets[request], offsets[request + 1]
        if events[event] & 1 == 0:
            is_prefix = True
            for place in range(first, end):
                block = blocks[place]
                is_prefix = is_prefix and is_resident[block]
                hits[request] += is_prefix
                if is_resident[block] and holders[block] == 0:
                    idle -= 1
                if not is_resident[block]:
                    is_resident[block] = True
                    key[block] = -(request << DEPTH_BITS) + (place - first)
                holders[block] += 1
            continue
        for place in range(first, end):
            block = blocks[place]
            holders[block] -= 1
            if yardstick == 1:
                key[block] = (next_use[place] << DEPTH_BITS) + (place - first)
            if holders[block] > 0:
                continue
            idle += 1
            if heap_size == len(heap_keys):
                heap_keys = np.concatenate((heap_keys, np.empty_like(heap_keys)))
                heap_blocks = np.concatenate((heap_blocks, np.empty_like(heap_blocks)))
            heap_size = _push(heap_keys, heap_blocks, heap_size, key[block], block)
        while idle > capacity_blocks:
            top_key, top = heap_keys[0], heap_blocks[0]
            heap_size = _pop(heap_keys, heap_blocks, heap_size)
            if is_resident[top] and holders[top] == 0 and key[top] == top_key:
                is_resident[top] = False
                idle -= 1
    return hits


@kernel
def _push(keys: Any, blocks: Any, size: int, key: int, block: int) -> int:
    place = size
    while place > 0 and keys[(place - 1) >> 1] < key:
        parent = (place - 1) >> 1
        keys[place], blocks[place] = keys[parent], blocks[parent]
        place = parent
    keys[place], blocks[place] = key, block
    return size + 1


@kernel
def _pop(keys: Any, blocks: Any, size: int) -> int:
    """Removes the first entry."""
    size -= 1
    key, block = keys[size], blocks[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[place], blocks[place] = keys[child], blocks[child]
        place = child
    keys[place], blocks[place] = key, block
    return size
