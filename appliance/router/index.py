"""Which worker holds which blocks in which tier, and how much of a prompt each could reuse."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.router.errors import IndexFull, IntegrityError, UnknownParent
from appliance.router.hashing import Hashes
from appliance.router.index_move import Move, new_arrays, piece_for
from appliance.router.kernels import (
    COUNTS,
    HELD,
    KEY,
    LIVE,
    MASK_BITS,
    NONE,
    TIERS,
    USED,
    clear_bits,
    copy_numbered,
    count_unknown,
    enter_all,
    find,
    first_wrong_row,
    mark_blocks,
    match_blocks,
    number_needed,
    remove_blocks,
    store_blocks,
)

MAX_WORKERS = MASK_BITS // TIERS
DEFAULT_MAX_BLOCKS = 2**22
_LEAST_ROOM = 1024
LEAST_IN_PIECES = 1 << 15
"""Rows. Fewer move in a few milliseconds."""
_DEPTHS_SHAPE = (MAX_WORKERS, TIERS)

Depths = NDArray[np.int64]


class Tier(IntEnum):
    """Where a copy of a block lies, fastest first."""

    GPU = 0
    HOST = 1
    DISK = 2
    REMOTE = 3


class Index(Protocol):
    """Sets of blocks, one for each worker and tier.

    A worker is a number below `MAX_WORKERS`; it needs no registration. Hashes are those of `hashing.hash_blocks`, so
    a hash stands for a block with its whole prefix.
    """

    @property
    def unknown_removals(self) -> int:
        """How many hashes were removed from a worker that did not hold them, since the index was made."""
        ...

    def store(
        self, worker: int, hashes: Hashes, *, parent: int | None = None, tier: Tier = Tier.GPU
    ) -> NDArray[np.bool_]:
        """`worker` holds these blocks from now on. Returns which of them it did not hold before. Idempotent.

        They are consecutive blocks of one prompt behind `parent` (`None`: its first ones), a block that was stored
        before and that some worker holds still. Raises `UnknownParent` or `IndexFull`, and stores nothing then.
        """
        ...

    def mark(self, worker: int, hashes: Hashes, tier: Tier) -> int:
        """`worker` holds these blocks, of any prompts, in this tier too. How many are not known, of which nothing is
        kept: those that nobody holds any more are forgotten in time. Idempotent."""
        ...

    def remove(self, worker: int, hashes: Hashes, *, tier: Tier = Tier.GPU) -> None:
        """`worker` holds these blocks no more. A hash it does not hold is a no-op, counted in `unknown_removals`.

        Children of a removed block stay held. They match again once the block is stored again.
        """
        ...

    def clear(self, worker: int) -> None:
        """`worker` holds nothing, in no tier. A no-op for one that held nothing; counts no unknown removals."""
        ...

    def match(self, hashes: Hashes) -> Depths:
        """`depths[worker, tier]`: how many leading blocks `worker` holds without a gap, in `tier` or a faster one.

        Does not mutate. A block behind a missing one does not count, held or not: the engine cannot reach it.
        """
        ...

    def num_blocks(self, worker: int, tier: Tier = Tier.GPU) -> int:
        """How many blocks `worker` holds in `tier`; 0 for an unknown worker."""
        ...

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when the index contradicts itself. Does not mutate.

        Reads everything (measured: 240 ms for a million blocks): not in the loop that serves.
        """
        ...


class PrefixIndex:
    """An `Index` in flat arrays: 44 bytes a row, made with two to four rows for each block then needed.

    A block needs one row however many workers and tiers hold it, and also when none does but one behind it is held.
    New blocks take new rows. When few of `least_in_pieces` rows or more are left, the blocks still needed move to new
    arrays, a `piece` with each change (`index_move.py`; measured: the longest takes 5 to 7 ms with a million). When
    rows run out all the same, or were few, they move in one go (55 to 200 ms), and then no more than `max_blocks` are
    accepted.
    `match` looks up a number of hashes that grows with the logarithm of the depth, times the different depths found.
    One thread may write while others match, who take no lock.
    """

    def __init__(
        self,
        max_blocks: int = DEFAULT_MAX_BLOCKS,
        *,
        least_in_pieces: int = LEAST_IN_PIECES,
        piece: Callable[[int], int] = piece_for,
    ) -> None:
        self.unknown_removals = 0
        self._max_blocks = max_blocks
        self._least_in_pieces = least_in_pieces
        self._piece = piece
        self._arrays = new_arrays(_LEAST_ROOM)
        self._move: Move | None = None

    @property
    def size_bytes(self) -> int:
        """Of what serves; while blocks move there is as much again."""
        return sum(array.nbytes for array in self._arrays)

    def store(
        self, worker: int, hashes: Hashes, *, parent: int | None = None, tier: Tier = Tier.GPU
    ) -> NDArray[np.bool_]:
        self._make_room(hashes)
        arrays = self._arrays
        parent_row = NONE if parent is None else find(arrays.slots, arrays.rows, np.uint64(parent))
        if parent is not None and (parent_row == NONE or not arrays.rows[parent_row, HELD]):
            raise UnknownParent(f"prefix index: worker {worker} stores blocks behind {parent:#x}, which is not known")
        is_new = np.empty(hashes.size, np.bool_)
        store_blocks(*arrays, hashes, parent_row, worker * TIERS + tier, is_new)
        self._go_on(hashes)
        return is_new

    def mark(self, worker: int, hashes: Hashes, tier: Tier) -> int:
        unknown = int(mark_blocks(*self._arrays, hashes, worker * TIERS + tier))
        self._go_on(hashes)
        return unknown

    def remove(self, worker: int, hashes: Hashes, *, tier: Tier = Tier.GPU) -> None:
        self.unknown_removals += remove_blocks(*self._arrays, hashes, worker * TIERS + tier)
        self._go_on(hashes)

    def clear(self, worker: int) -> None:
        mask = np.uint64(((1 << TIERS) - 1) << (worker * TIERS))
        clear_bits(self._arrays.rows, self._arrays.state, mask)
        if self._move is not None:
            self._move.clear(mask)

    def match(self, hashes: Hashes) -> Depths:
        slots, rows, _, _ = self._arrays
        depths = np.empty(_DEPTHS_SHAPE, np.int64)
        match_blocks(slots, rows, hashes, depths)
        return depths

    def num_blocks(self, worker: int, tier: Tier = Tier.GPU) -> int:
        return int(self._arrays.state[COUNTS + worker * TIERS + tier])

    def check_integrity(self) -> None:
        slots, rows, links, state = self._arrays
        counts = np.zeros(MASK_BITS, np.int64)
        wrong = first_wrong_row(slots, rows, links, state, counts)
        if wrong != NONE:
            raise IntegrityError(f"prefix index: row {wrong} of block {rows[wrong, KEY]:#x} contradicts its neighbours")
        found = np.count_nonzero(slots != NONE)
        if found != state[USED]:
            raise IntegrityError(f"prefix index: {found} rows to be found, {state[USED]} counted")
        live = np.count_nonzero(rows[: state[USED], HELD])
        if live != state[LIVE]:
            raise IntegrityError(f"prefix index: {live} rows held, {state[LIVE]} counted")
        if not np.array_equal(counts, state[COUNTS:]):
            raise IntegrityError(f"prefix index: {counts.tolist()} blocks held, {state[COUNTS:].tolist()} counted")
        if self.unknown_removals < 0:
            raise IntegrityError(f"prefix index: unknown_removals is {self.unknown_removals}")
        if self._move is not None:
            self._move.check_integrity()

    def _make_room(self, hashes: Hashes) -> None:
        slots, rows, _, state = self._arrays
        if state[USED] + hashes.size <= len(rows):
            return
        if state[USED] + count_unknown(slots, rows, hashes) > len(rows):
            # Those that have a row may lose it by the move.
            self._move_all(hashes.size)

    @property
    def is_moving(self) -> bool:
        """Whether blocks are on their way to new arrays, a piece with each change."""
        return self._move is not None and not self._move.has_failed

    def begin_move(self) -> None:
        """Begin to move the blocks still needed, a piece with each change from now on. A no-op while they do."""
        if self._move is None:
            self._move = Move(self._arrays, _room_for(int(self._arrays.state[LIVE])))

    def _go_on(self, changed: Hashes) -> None:
        """These blocks have changed. Move a piece, and begin where few rows are left."""
        move = self._move
        if move is None:
            self._begin_in_time()
            return
        if not move.has_failed:
            move.follow(changed)
            move.advance(self._piece(changed.size))
        if move.is_done:
            self._arrays = move.result()
            self._move = None

    def _begin_in_time(self) -> None:
        """A move that has failed stays, so that none begins until all has moved in one go."""
        _, rows, _, state = self._arrays
        is_short = len(rows) >= self._least_in_pieces and 4 * state[USED] >= 3 * len(rows)
        if is_short and state[LIVE] <= self._max_blocks:
            self.begin_move()

    def _move_all(self, num_new: int) -> None:
        """Move the blocks still needed to arrays with room for as many again and `num_new` more."""
        _, rows, links, state = self._arrays
        numbers = np.empty(state[USED], np.int64)
        needed = number_needed(rows, links, numbers)
        if needed + num_new > self._max_blocks:
            raise IndexFull(f"prefix index: {needed} blocks and {num_new} more, room for {self._max_blocks}")
        arrays = new_arrays(_room_for(needed + num_new))
        copy_numbered(rows, links, numbers, arrays.rows, arrays.links)
        enter_all(arrays.slots, arrays.rows, needed)
        arrays.state[:] = state
        arrays.state[USED] = needed
        self._arrays = arrays
        self._move = None


def _room_for(num_blocks: int) -> int:
    return max(_LEAST_ROOM, 1 << (2 * num_blocks - 1).bit_length()) if num_blocks else _LEAST_ROOM
