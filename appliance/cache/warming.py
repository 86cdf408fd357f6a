"""Compiles what an engine runs of the eviction core, before a request waits for it."""

from __future__ import annotations

from functools import cache

import numpy as np

from appliance.cache.eviction import NO_BLOCK, EvictionCore
from appliance.cache.eviction_facts import Order, Shares

_BLOCKS = 8


@cache
def warm_up() -> None:
    """Run every kernel of the core once in this process.

    Where nothing is compiled yet the first request would wait for seconds, and the first that finds blocks in the cache
    once more.
    """
    core = EvictionCore(2 * _BLOCKS, num_sessions=4, order=Order.LRU)
    blocks = np.array(core.take(_BLOCKS, 0).blocks)
    parents = np.append(NO_BLOCK, blocks[:-1])
    worth = np.full(_BLOCKS, 50), np.full(_BLOCKS, 1000)
    core.start_prompt(1)
    core.fill(blocks, parents, 1, 0)
    core.claim(1, blocks, *worth, 0, np.zeros(_BLOCKS, np.int64))
    core.release(blocks, 0)
    core.wait(blocks)
    core.unwait(blocks)
    core.hold(blocks, 1)
    core.hit(blocks, 2, 1)
    core.hit(blocks, None, 1)
    core.adopt(blocks, parents)
    core.release(blocks, 1)
    core.set_order(Order.FORECAST)
    core.set_keep(1, 1.0)
    core.take_columns(_BLOCKS + 1, 2)
    core.reprioritise(np.full(2, 40), np.full(2, 0), 3)
    core.set_shares(Shares())
    core.finish(1)
    core.forget(2)
    core.drop(blocks[:1])
    core.expire(10_000)
    core.rebuild(10_000)
    core.check_integrity()
