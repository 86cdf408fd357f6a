"""One engine's own names for its blocks, and how many copies of each it has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.kernels import (
    COPIES,
    KEY,
    KNOWN,
    NONE,
    OWN,
    USED,
    Rows,
    Slots,
    State,
    add_copies,
    drop_copies,
    engine_hashes_of,
    enter_all,
    find,
)

_LEAST_ROOM = 1024


class _Arrays(NamedTuple):
    slots: Slots
    rows: Rows
    state: State


class EngineBlocks:
    """Maps an engine's block hashes to the router's.

    In flat arrays of 32 bytes a row, made with two to four rows for each block then known. A block that is gone and
    comes back takes its old row again; when rows run out, those with copies move to new arrays.
    """

    def __init__(self) -> None:
        self._arrays = _new_arrays(_LEAST_ROOM)
        self._before = self._arrays
        """Those that it had before the last move: they tell of blocks that have gone since."""

    def __len__(self) -> int:
        """Different engine hashes known."""
        return int(self._arrays.state[KNOWN])

    @property
    def num_copies(self) -> int:
        """Blocks the engine holds, each copy counted."""
        return int(self._live()[:, COPIES].sum())

    def own_hash(self, engine_hash: int) -> int | None:
        slots, rows, _ = self._arrays
        row = find(slots, rows, np.uint64(engine_hash))
        return None if row == NONE or not rows[row, COPIES] else int(rows[row, OWN])

    def last_own_hash(self, engine_hash: int) -> int | None:
        """Also of a block that is gone, if it has not been gone for long: as many as there are have come since."""
        for slots, rows, _ in (self._arrays, self._before):
            row = find(slots, rows, np.uint64(engine_hash))
            if row != NONE:
                return int(rows[row, OWN])
        return None

    def engine_hashes(self, own_hashes: Hashes) -> Hashes:
        """What the engine calls those of these blocks that it holds, in no order. Reads all rows: 1.8 ms of CPU
        for 100,000."""
        room = max(_LEAST_ROOM, 1 << int(own_hashes.size).bit_length())
        wanted = np.zeros((own_hashes.size, 3), np.uint64)
        wanted[:, KEY] = own_hashes
        slots = np.full(2 * room, NONE, np.int32)
        enter_all(slots, wanted, own_hashes.size)
        found = np.empty(2 * own_hashes.size, np.uint64)
        count = engine_hashes_of(self._arrays.rows, int(self._arrays.state[USED]), slots, wanted, found)
        return found[:count]

    def own_hashes(self) -> Hashes:
        """Of all blocks, in no order; twice where two engine hashes have one own hash."""
        return self._live()[:, OWN].copy()

    def add(self, engine_hashes: Hashes, own_hashes: Hashes) -> NDArray[np.bool_]:
        """The engine has one more copy of each block. Returns which of them were not known.

        An engine hash that is known stands for what it stood for before: `own_hashes` is overwritten with that.
        """
        self._make_room(engine_hashes.size)
        is_new = np.empty(engine_hashes.size, np.bool_)
        add_copies(*self._arrays, engine_hashes, own_hashes, is_new)
        return is_new

    def drop(self, engine_hashes: Hashes) -> tuple[Hashes, int]:
        """One copy of each block is gone. Returns the own hashes of those with none left, and how many were unknown."""
        gone = np.empty(engine_hashes.size, np.uint64)
        num_gone, unknown = drop_copies(*self._arrays, engine_hashes, gone)
        return gone[:num_gone], unknown

    def clear(self) -> None:
        self._before = self._arrays
        self._arrays = _new_arrays(_LEAST_ROOM)

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when a block cannot be found or a count is wrong. Does not mutate."""
        slots, rows, state = self._arrays
        found = np.count_nonzero(slots != NONE)
        if found != state[USED] or rows[state[USED] :, COPIES].any():
            raise IntegrityError(f"engine blocks: {found} rows to be found, {state[USED]} counted")
        if len(self._live()) != state[KNOWN]:
            raise IntegrityError(f"engine blocks: {len(self._live())} known, {state[KNOWN]} counted")

    def _live(self) -> Rows:
        rows = self._arrays.rows
        return rows[rows[:, COPIES] > 0]

    def _make_room(self, num_blocks: int) -> None:
        if self._arrays.state[USED] + num_blocks <= len(self._arrays.rows):
            return
        live = self._live()
        arrays = _new_arrays(max(_LEAST_ROOM, 1 << (2 * (len(live) + num_blocks) - 1).bit_length()))
        arrays.rows[: len(live)] = live
        enter_all(arrays.slots, arrays.rows, len(live))
        arrays.state[:] = len(live)
        self._before = self._arrays
        self._arrays = arrays


def _new_arrays(room: int) -> _Arrays:
    return _Arrays(np.full(2 * room, NONE, np.int32), np.zeros((room, 3), np.uint64), np.zeros(2, np.int64))
