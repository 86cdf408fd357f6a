from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.cache.errors import IntegrityError
from appliance.cache.eviction import NO_BLOCK, EvictionCore, Order
from appliance.cache.tables import Tables


def broken_blocks(name: str, value: int) -> Callable[[Tables], None]:
    def write(tables: Tables) -> None:
        tables.blocks[name][1] = value

    return write


def broken(table: str, name: str, value: int, row: int = 0) -> Callable[[Tables], None]:
    def write(tables: Tables) -> None:
        getattr(tables, table)[name][row] = value

    return write


@pytest.mark.parametrize(
    "write",
    [
        *(broken_blocks("parent", value) for value in (NO_BLOCK, 5)),
        *(broken_blocks(name, 5) for name in ("first_child", "next_sibling", "next", "previous", "bucket", "own")),
        *(broken_blocks(name, 9) for name in ("effective", "num_claims", "duration_ms", "holders", "waiters")),
        broken_blocks("has_content", 0),
        broken_blocks("timer_level", 0),
        broken_blocks("is_changed", 1),
        broken("state", "num_candidates", 3),
        broken("state", "num_claimed", 3),
        broken("state", "num_changed", 1),
        broken("state", "session_limit", 1),
        broken("state", "total_limit", 1),
        broken("buckets", "num_blocks", 3, 36),
        broken("buckets", "lowest_session", 1, 36),
        broken("sessions", "num_above", 9, 1),
        broken("claims", "priority", 20),
        broken("claims_of", "first", 3),
        broken("claimed_ends", "last", 1),
        broken("timers", "at_ms", 10**6),
        broken("levels", "num_timers", 0, 1),
    ],
)
def test_every_contradiction_is_found(write: Callable[[Tables], None]) -> None:
    core = EvictionCore(12, num_sessions=3, order=Order.FORECAST)
    for session in range(2):
        core.start_prompt(session)
        blocks = core.take(3, 0).blocks.tolist()
        core.fill(blocks, [NO_BLOCK, *blocks[:-1]], session, 0)
        core.claim(session, blocks, [60, 50, 35], [1_000, 2_000, 0], 0)
        core.release(blocks, 0)
    core.check_integrity()
    core.set_keep(1, 5.0)
    core._tables.buckets["lowest_session"][36] = 0
    core.check_integrity()
    write(core._tables)
    with pytest.raises(IntegrityError):
        core.check_integrity()
