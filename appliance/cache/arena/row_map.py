"""An arena in a few cells: what operators see of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.tables import KEY_WORDS, NAMESPACE, READY, RETIRED, STATE, Numbers, Tables, short_hashes
from appliance.cache.cells import Cells
from appliance.cache.layout import NO_SESSION, Rows

NOBODY: Final = -1


class RowMap(NamedTuple):
    """Of the rows in use, an element a cell; each stands for `per_cell` of them, the last for what is left. How many of
    them are `filled`, `held` (read, written, or in quarantine), `awaited`. The others speak of the filled one that was
    used last, and mean nothing where none is: its owner's place in `names` (NOBODY: none of these), what the events of
    engines call it, what it is worth and how long ago it was used."""

    num_rows: int
    per_cell: int
    names: list[str]
    filled: NDArray[np.int32]
    held: NDArray[np.int32]
    awaited: NDArray[np.int32]
    owners: Numbers
    hashes: NDArray[np.uint64]
    priorities: Numbers
    ages_ms: Numbers


def row_map(tables: Tables, facts: Rows, named: Mapping[int, str], cells: int, now_ms: int) -> RowMap:
    """At most so many cells. `facts` are the eviction core's, `named` the sessions that are known, by the names that
    the arena has for them."""
    states = tables.rows[:, STATE]
    rows = np.flatnonzero(states != RETIRED)
    # A column at a time: each is a call in which no other thread runs.
    filled = (states == READY)[rows]
    in_cells = Cells(len(rows), cells)
    shown = in_cells.last_used(filled, facts["use"][rows])
    at = rows[shown]
    names, owners = _named(np.where(filled[shown], facts["owner"][at], NO_SESSION), tables, named)
    return RowMap(
        len(rows),
        in_cells.per_cell,
        names,
        in_cells.counted(filled),
        in_cells.counted((facts["holders"] > 0)[rows]),
        in_cells.counted((facts["waiters"] > 0)[rows]),
        owners,
        short_hashes(tables.keys[at] ^ tables.header[NAMESPACE : NAMESPACE + KEY_WORDS].view(np.uint64)),
        facts["effective"][at].astype(np.int64),
        (now_ms - facts["last_use_ms"][at]).clip(0),
    )


def _named(slots: NDArray[np.int32], tables: Tables, named: Mapping[int, str]) -> tuple[list[str], Numbers]:
    found, inverse = np.unique(slots, return_inverse=True)
    told = [None if slot == NO_SESSION else named.get(int(tables.session_names[slot])) for slot in found]
    names = [name for name in told if name is not None]
    places = np.array([NOBODY if name is None else names.index(name) for name in told], np.int64)
    return names, places[inverse]
