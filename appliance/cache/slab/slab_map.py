"""A slab in a few cells: what operators see of its rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.tables import Numbers
from appliance.cache.cells import Cells


class SlabRows(NamedTuple):
    """An element a row: whether it has a block, whether that cannot go now, when it was used last (wall clock), what it
    is worth, and how often it was brought back since the index was made."""

    filled: NDArray[np.bool_]
    held: NDArray[np.bool_]
    last_uses_ms: Numbers
    priorities: NDArray[np.uint8]
    reads: NDArray[np.uint32]


class SlabMap(NamedTuple):
    """An element a cell, each `per_cell` rows with neighbouring numbers, the last for what is left: how many of them
    are `filled` and `held`. The others speak of the filled one that was used last, whose row is in `rows`, and mean
    nothing where none is."""

    num_rows: int
    per_cell: int
    filled: NDArray[np.int32]
    held: NDArray[np.int32]
    rows: Numbers
    priorities: NDArray[np.uint8]
    ages_ms: Numbers
    reads: NDArray[np.uint32]


def slab_map(all_rows: SlabRows, cells: int, wall_ms: int) -> SlabMap:
    """At most so many cells."""
    in_cells = Cells(len(all_rows.filled), cells)
    rows = in_cells.last_used(all_rows.filled, all_rows.last_uses_ms)
    return SlabMap(
        len(all_rows.filled),
        in_cells.per_cell,
        in_cells.counted(all_rows.filled),
        in_cells.counted(all_rows.held),
        rows,
        all_rows.priorities[rows],
        (wall_ms - all_rows.last_uses_ms[rows]).clip(0),
        all_rows.reads[rows],
    )
