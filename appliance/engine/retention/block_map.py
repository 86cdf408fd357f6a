"""A pool in a few cells: what operators see of its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.layout import NO_SESSION

# The process that computes imports this too, through `calls.py`: with numba there vLLM 0.32.0 does not start, since it
# takes every global for a kernel of its own that has a `__dict__`, as those of llvmlite seem to.
if TYPE_CHECKING:
    from appliance.engine.retention.blocks import BlockTable
    from appliance.engine.retention.sessions import SessionSlots

NOBODY: Final = -1
MOST_CELLS: Final = 8192


class BlockMap(NamedTuple):
    """A row a cell; each stands for `per_cell` blocks with neighbouring numbers, the last for what is left. How many of
    them are `filled`, `held` by running requests (and one, for good, by vLLM itself), `awaited`. The others speak of
    the one of them that was used last: its `owners` place in `names` (NOBODY: none), where in its prompt it starts,
    what it is worth, how long ago it was used and how often it was hit; all 0 where none is filled."""

    num_blocks: int
    per_cell: int
    names: list[str]
    filled: NDArray[np.int32]
    held: NDArray[np.int32]
    awaited: NDArray[np.int32]
    owners: NDArray[np.int32]
    first_tokens: NDArray[np.int32]
    priorities: NDArray[np.int32]
    ages_ms: NDArray[np.int32]
    hits: NDArray[np.int32]

    def packed(self) -> list[Any]:
        """As msgpack carries it."""
        return [*self[:3], *(column.astype("<i4").tobytes() for column in self[3:])]


def unpacked(told: list[Any]) -> BlockMap:
    return BlockMap(*told[:3], *(np.frombuffer(column, "<i4") for column in told[3:]))


def block_map(table: BlockTable, sessions: SessionSlots, cells: int) -> BlockMap:
    """At most so many cells."""
    facts = table.core.columns()
    num_blocks = len(table)
    per_cell = -(-num_blocks // cells)
    starts = np.arange(0, num_blocks, per_cell)
    filled = facts["has_content"] != 0
    # Which of a cell's blocks was used last: the largest use number, which no two blocks share.
    uses = np.where(filled, facts["use"], -1)
    shown = _last_used(uses, starts)
    is_filled = filled[shown]
    slots = np.where(is_filled, facts["owner"][shown], NO_SESSION)
    names, owners = _named(slots, sessions)
    return BlockMap(
        num_blocks,
        per_cell,
        names,
        filled=_counted(filled, starts),
        held=_counted(facts["holders"] > 0, starts),
        awaited=_counted(facts["waiters"] > 0, starts),
        owners=owners,
        first_tokens=_told(table.first_tokens[shown], is_filled),
        priorities=_told(facts["effective"][shown], is_filled),
        ages_ms=_told(table.now_ms - facts["last_use_ms"][shown], is_filled),
        hits=_told(table.hits[shown], is_filled),
    )


def _counted(is_so: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.add.reduceat(is_so.astype(np.int32), starts)


def _told(values: NDArray[Any], is_filled: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.where(is_filled, values, 0).clip(0, 2**31 - 1).astype(np.int32)


def _last_used(uses: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each cell the block with the largest number; the first of several."""
    most = np.repeat(np.maximum.reduceat(uses, starts), np.diff(np.append(starts, len(uses))))
    places = np.flatnonzero(uses == most)
    return places[np.searchsorted(places, starts)]


def _named(slots: NDArray[np.int64], sessions: SessionSlots) -> tuple[list[str], NDArray[np.int32]]:
    found, inverse = np.unique(slots, return_inverse=True)
    names = [sessions.name(int(slot)) for slot in found]
    known = [name for name in names if name is not None]
    places = np.array([NOBODY if name is None else known.index(name) for name in names], np.int32)
    return known, places[inverse]
