"""A pool in a few cells: what operators see of its blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.cells import Cells
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
    in_cells = Cells(len(table), cells)
    filled = facts["has_content"] != 0
    shown = in_cells.last_used(filled, facts["use"])
    is_filled = filled[shown]
    slots = np.where(is_filled, facts["owner"][shown], NO_SESSION)
    names, owners = _named(slots, sessions)
    return BlockMap(
        len(table),
        in_cells.per_cell,
        names,
        filled=in_cells.counted(filled),
        held=in_cells.counted(facts["holders"] > 0),
        awaited=in_cells.counted(facts["waiters"] > 0),
        owners=owners,
        first_tokens=_told(table.first_tokens[shown], is_filled),
        priorities=_told(facts["effective"][shown], is_filled),
        ages_ms=_told(table.now_ms - facts["last_use_ms"][shown], is_filled),
        hits=_told(table.hits[shown], is_filled),
    )


def _told(values: NDArray[Any], is_filled: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.where(is_filled, values, 0).clip(0, 2**31 - 1).astype(np.int32)


def _named(slots: NDArray[np.int64], sessions: SessionSlots) -> tuple[list[str], NDArray[np.int32]]:
    found, inverse = np.unique(slots, return_inverse=True)
    names = [sessions.name(int(slot)) for slot in found]
    known = [name for name in names if name is not None]
    places = np.array([NOBODY if name is None else known.index(name) for name in names], np.int32)
    return known, places[inverse]
