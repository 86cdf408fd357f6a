"""The index's arrays, and their blocks on the way to new ones, a piece at a time, while the old ones serve."""

from __future__ import annotations

import numpy as np

from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.kernels import (
    COUNTS,
    HELD,
    LIVE,
    MASK_BITS,
    NONE,
    USED,
    Arrays,
    carry_rows,
    clear_bits,
    follow_rows,
)

ROWS_PER_BLOCK = 8
LEAST_ROWS = 512
MOST_ROWS = 1 << 15
"""Of one piece: so many rows are looked at for each block that is stored or removed, within these bounds. A move begins
when a quarter of the rows is left, so half of it would be enough."""
_SLOTS_PER_ROW = 16
"""So many slots are emptied in the time in which one row is looked at."""


def new_arrays(room: int) -> Arrays:
    arrays = _unfilled(room)
    arrays.slots[:] = NONE
    return arrays


def piece_for(num_blocks: int) -> int:
    """Rows to look at when so many blocks are stored or removed."""
    return min(max(LEAST_ROWS, ROWS_PER_BLOCK * num_blocks), MOST_ROWS)


class Move:
    """Carries over the blocks that somebody holds, with all before them, in the order of the old rows.

    The old arrays are read and never written. Whoever changes them tells: `follow` where blocks were stored, marked or
    removed, `clear` where bits were. `has_failed` once there was no room: then it is of no more use.
    """

    def __init__(self, old: Arrays, room: int) -> None:
        self.has_failed = False
        self._old = old
        self._new = _unfilled(room)
        self._numbers = np.zeros(len(old.rows), np.int32)
        self._emptied = 0
        self._passed = 0

    @property
    def is_done(self) -> bool:
        return not self.has_failed and self._emptied == self._new.slots.size and self._passed == self._used

    @property
    def _used(self) -> int:
        return int(self._old.state[USED])

    def result(self) -> Arrays:
        """The new arrays of a move that is done: they hold what the old ones do."""
        self._new.state[LIVE:] = self._old.state[LIVE:]
        return self._new

    def advance(self, num_rows: int) -> None:
        """Look at so many rows more."""
        slots = self._new.slots
        if self._emptied < slots.size:
            stop = min(self._emptied + _SLOTS_PER_ROW * num_rows, slots.size)
            slots[self._emptied : stop] = NONE
            self._emptied = stop
            return
        stop = min(self._passed + num_rows, self._used)
        if carry_rows(self._old, self._passed, stop, self._numbers, self._new):
            self._passed = stop
        else:
            self.has_failed = True

    def follow(self, hashes: Hashes) -> None:
        if self._passed and not follow_rows(self._old, hashes, self._passed, self._numbers, self._new):
            self.has_failed = True

    def clear(self, mask: np.uint64) -> None:
        clear_bits(self._new.rows, self._new.state, mask)

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when what was carried over is not as it was, or something was left behind."""
        if self.has_failed:
            return
        carried = self._numbers[: self._used] > 0
        held = self._old.rows[: self._passed, HELD] != 0
        if carried[self._passed :].any() or (held & ~carried[: self._passed]).any():
            raise IntegrityError(f"prefix index: {carried.sum()} rows carried over, and not those that had to be")
        numbers = self._numbers[: self._used][carried] - 1
        if not np.array_equal(np.sort(numbers), np.arange(int(self._new.state[USED]))):
            raise IntegrityError(f"prefix index: {carried.sum()} rows carried over to {self._new.state[USED]}")
        if not np.array_equal(self._new.rows[numbers], self._old.rows[: self._used][carried]):
            raise IntegrityError("prefix index: a row that was carried over is not what it was")


def _unfilled(room: int) -> Arrays:
    """Without slots that say anything: emptying them takes time."""
    return Arrays(
        np.empty(2 * room, np.int32),
        np.zeros((room, 3), np.uint64),
        np.zeros((room, 3), np.int32),
        np.zeros(COUNTS + MASK_BITS, np.int64),
    )
