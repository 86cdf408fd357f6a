"""What is known of an eviction core, without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.eviction_facts import BlockFacts, Claim, EvictionStats, Order
from appliance.cache.eviction_integrity import check_tables
from appliance.cache.layout import AWAITED, FOREVER, FREE, NO_BLOCK, NO_SESSION, NOBODY, NOWHERE, STATS
from appliance.cache.tables import Tables


class EvictionView:
    """Reads the arrays as they are. Only `candidates` and `check_integrity` take longer the more blocks there are."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._header = self.header = tables.header
        self._state = tables.state[0]

    @property
    def num_blocks(self) -> int:
        return len(self._tables.blocks)

    @property
    def num_sessions(self) -> int:
        return len(self._tables.sessions) - 1

    @property
    def num_candidates(self) -> int:
        return int(self._state["num_candidates"])

    @property
    def num_free(self) -> int:
        """Candidates without content."""
        return int(self._tables.buckets["num_blocks"][FREE])

    @property
    def num_awaited(self) -> int:
        """Candidates that waiting requests want."""
        return int(self._tables.buckets["num_blocks"][AWAITED])

    @property
    def num_claimed(self) -> int:
        """Blocks with a claim above the default."""
        return int(self._state["num_claimed"])

    @property
    def order(self) -> Order:
        return Order.FORECAST if self._state["is_forecast"] else Order.LRU

    @property
    def stats(self) -> EvictionStats:
        return EvictionStats(*(int(self._state[name]) for name in STATS))

    def candidates(self) -> NDArray[np.int64]:
        """Nearly in the order in which they go: by effective priority, those without content first and the awaited ones
        last, then by last use. Forecast and parents are left out. Sorts all."""
        blocks = self._tables.blocks
        numbers = np.flatnonzero(blocks["bucket"] != NOWHERE)
        in_order: NDArray[np.int64] = numbers[np.lexsort((blocks["use"][numbers], blocks["bucket"][numbers]))]
        return in_order

    def candidates_by_priority(self) -> NDArray[np.int32]:
        """How many candidates each effective priority 0–100 has; without the free and the awaited ones."""
        return self._tables.buckets["num_blocks"][FREE + 1 : AWAITED].copy()

    def num_claimed_by(self, session: int) -> int:
        """Blocks on which the session has a claim above the default."""
        return int(self._tables.sessions["num_above"][session + 1])

    def num_owned(self) -> NDArray[np.int64]:
        """By session, how many blocks with content it was the last to use."""
        return self._tables.sessions["num_owned"][1:].copy()

    def columns(self) -> NDArray[np.void]:
        """All that is known of each block, a row a block, as it is now: not to be written to, nor kept."""
        return self._tables.blocks

    def keeps(self) -> NDArray[np.float64]:
        """By session, what was said that keeping it is worth."""
        return self._tables.sessions["keep"][1:].copy()

    def priorities(self, blocks: Sequence[int] | NDArray[Any]) -> NDArray[np.uint8]:
        """The effective ones."""
        return self._tables.blocks["effective"][np.asarray(blocks, np.int64)]

    def are_held(self, blocks: Sequence[int] | NDArray[Any]) -> NDArray[np.bool_]:
        held: NDArray[np.bool_] = self._tables.blocks["holders"][np.asarray(blocks, np.int64)] > 0
        return held

    def worths(self, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Their own priorities, and for how long from the last use (or FOREVER) these hold."""
        records = self._tables.blocks[blocks]
        return records["own"].astype(np.int64), records["duration_ms"].astype(np.int64)

    def parents(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The blocks that they come behind, or NO_BLOCK."""
        return self._tables.blocks["parent"][blocks].astype(np.int64)

    def block(self, block: int) -> BlockFacts:
        record = self._tables.blocks[block]
        per_block = len(self._tables.claims) // self.num_blocks
        slots = self._tables.claims[block * per_block : (block + 1) * per_block]
        return BlockFacts(
            has_content=bool(record["has_content"]),
            holders=int(record["holders"]),
            waiters=int(record["waiters"]),
            owner=None if record["owner"] == NO_SESSION else int(record["owner"]),
            parent=None if record["parent"] == NO_BLOCK else int(record["parent"]),
            last_use_ms=int(record["last_use_ms"]),
            own_priority=int(record["own"]),
            effective_priority=int(record["effective"]),
            claims=tuple(_claim(slot) for slot in slots if slot["session"] != NO_SESSION),
        )

    def check_facts(self, has_content: NDArray[np.bool_], holders: NDArray[np.int64]) -> None:
        """Raises `IntegrityError` when these are not the facts of all blocks. Does not mutate."""
        for name, wanted in (("has_content", has_content), ("holders", holders)):
            differs = np.flatnonzero(self._tables.blocks[name] != wanted)
            if differs.size:
                block = int(differs[0])
                raise IntegrityError(
                    f"{name} of {block} is {self._tables.blocks[name][block]}, not {int(wanted[block])} "
                    f"({differs.size} differ)"
                )

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when facts, lists, links and counts disagree. Does not mutate."""
        check_tables(self._tables)


def _claim(slot: Any) -> Claim:
    return Claim(
        session=None if slot["session"] == NOBODY else int(slot["session"]),
        priority=int(slot["priority"]),
        duration_ms=None if slot["duration_ms"] == FOREVER else int(slot["duration_ms"]),
        rule=int(slot["rule"]),
    )
