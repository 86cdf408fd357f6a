"""Which block is in which row of a slab, which rows are in use, and which goes next.

In the memory of the one process that has the slab: what must outlast it stands in the rows' headers, from which
`restore` works it out, and in `uses`. The order in which rows go is the eviction core's, by last use; priorities hold
here too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.index import Worth
from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.tables import KEY_WORDS, Keys, Numbers
from appliance.cache.errors import IntegrityError
from appliance.cache.eviction import NO_BLOCK, NO_SESSION, EvictionCore, Order, Shares
from appliance.cache.layout import DEFAULT_PRIORITY, FOREVER, MAX_DURATION_MS, MAX_PRIORITY
from appliance.cache.slab.layout import Facts, Records
from appliance.cache.slab.slab_map import SlabMap, SlabRows, slab_map
from appliance.cache.slab.uses import Uses

_EMPTY, _WRITING, _READY = range(3)
_CLAIMANT: Final = 0
"""The one session of this core: whose blocks they were is not kept."""
_ALL: Final = Shares(1.0, 1.0)
_NO_KEY: Final = bytes(8 * KEY_WORDS)
MAX_CHANGES: Final = 1 << 13
"""Remembered for who follows what is there."""


class SlabStats(NamedTuple):
    """`rows` in use are those with a block, `held` those that cannot go now. The rest counts since the index was made:
    blocks restored from headers, written and evicted, writes refused for want of a row, and rows that did not give
    what they should hold."""

    rows: int
    used: int
    held: int
    restored: int
    written: int
    evicted: int
    refused: int
    bad: int


class SlabChanges(NamedTuple):
    """What became of blocks, oldest first. Where `is_whole` is false some changes were forgotten, and all of these."""

    keys: Keys
    is_stored: NDArray[np.bool_]
    is_whole: bool


class SlabIndex:
    """Not for several threads at a time. `clock` and `wall` give seconds: one that never goes back, and the time of
    day."""

    def __init__(
        self,
        num_rows: int,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._core = EvictionCore(num_rows, num_sessions=1, order=Order.LRU, shares=_ALL)
        self._clock = clock
        self._wall = wall
        self._rows: dict[bytes, int] = {}
        """Of blocks that are there or being written."""
        self._keys: list[bytes] = [b""] * num_rows
        self._states = np.full(num_rows, _EMPTY, np.int8)
        self._leases = np.zeros(num_rows, np.int64)
        self._changes: list[tuple[bytes, bool]] = []
        self._changes_lost = False
        self._generation = 0
        self._generations = np.zeros(num_rows, np.int64)
        self._last_uses_ms = np.zeros(num_rows, np.int64)
        self._reads = np.zeros(num_rows, np.uint32)
        self._restored = self._written = self._refused = self._bad = 0

    def restore(self, records: Records) -> int:
        """What headers say is there, into an index that is empty; how many rows hold something.

        Of two rows with one key the later write counts. A claim that would have ended by now has; the rest goes on.
        """
        records = _last_writes(records)
        rows = records["row"].astype(np.int64)
        self._rows = {key.tobytes(): row for key, row in zip(records["key"], rows.tolist(), strict=True)}
        for key, row in self._rows.items():
            self._keys[row] = key
        self._states[rows] = _READY
        now_ms = self._now_ms()
        self._core.hold(rows, now_ms)
        self._core.fill(rows, self._parents_before(records), NO_SESSION, now_ms)
        self._core.claim(_CLAIMANT, rows, *worth_now(records, int(self._wall() * 1000)), now_ms)
        # The last of a release is the next to go: of rows used at one time the tail of the prompt.
        order = np.lexsort((records["generation"], -records["last_use_ms"]))
        self._core.release(rows[order], now_ms)
        self._generation = int(records["generation"].max(initial=0))
        self._generations[rows], self._last_uses_ms[rows] = records["generation"], records["last_use_ms"]
        self._restored = len(rows)
        return self._restored

    # Reading

    def rows_of(self, keys: Keys) -> Numbers:
        """The row of each block that is there, or MISS. Only leased rows are sure to stay."""
        found = np.fromiter((self._rows.get(key.tobytes(), MISS) for key in keys), np.int64, len(keys))
        found[self._states[found] != _READY] = MISS
        return found

    def lease(self, keys: Keys) -> Numbers:
        """As `rows_of`, and what is found stays until it is released. A use."""
        found = self.rows_of(keys)
        rows = found[found != MISS]
        self._change_leases(rows, 1)
        self._last_uses_ms[rows] = int(self._wall() * 1000)
        return found

    def release(self, rows: Numbers) -> None:
        """Once each, in the order of their prompt."""
        self._change_leases(rows, -1)

    def worths(self, rows: Numbers) -> Worth:
        """By their claims, which may have ended since they were written."""
        return Worth(*self._core.worths(rows))

    def count_reads(self, rows: Numbers) -> None:
        """These leased rows were brought back whole."""
        np.add.at(self._reads, rows, 1)

    def map(self, cells: int) -> SlabMap:
        """The rows in at most so many cells. Takes time linear in the rows (measured: 8 ms for a million)."""
        self._core.expire(self._now_ms())
        columns = self._core.columns()
        held = columns["holders"] > 0
        rows = SlabRows(self._states == _READY, held, self._last_uses_ms, columns["effective"], self._reads)
        return slab_map(rows, cells, int(self._wall() * 1000))

    def keys_in(self, rows: Numbers) -> Keys:
        """Of the blocks in these rows; zeros where there is none."""
        found = b"".join(self._keys[row] or _NO_KEY for row in rows.tolist())
        return np.frombuffer(found, np.uint64).reshape(-1, KEY_WORDS)

    def keys(self) -> Keys:
        """Of all blocks that are there."""
        found = [key for key, row in self._rows.items() if self._states[row] == _READY]
        return np.frombuffer(b"".join(found), np.uint64).reshape(len(found), KEY_WORDS)

    def drop(self, row: int) -> None:
        """The leased row does not hold what it should: as `forget`, and counted."""
        self._bad += int(self._states[row] == _READY)
        self.forget(row)

    def forget(self, row: int) -> None:
        """The leased row is found no more, and free once nobody reads it."""
        if self._states[row] == _READY:
            self._erase(row)
            self._core.drop([row])

    # Writing

    def begin_write(self, keys: Keys) -> Numbers:
        """A row to write for each block, or MISS where it is there or being written already, or there is no room. In
        prefix order: the head is written first. What is there counts as used."""
        taken = np.full(len(keys), MISS, np.int64)
        wanted = [key.tobytes() for key in keys]
        first = {key: place for place, key in reversed(list(enumerate(wanted)))}
        missing = sorted(place for key, place in first.items() if key not in self._rows)
        present = self.rows_of(keys)
        present = np.unique(present[present != MISS])
        now_ms = self._now_ms()
        self._core.hold(present, now_ms)
        room = missing[: self._core.num_candidates]
        victims = self._core.take_columns(len(room), now_ms)
        for row, had_content in victims[:2].T.tolist():
            if had_content:
                self._erase(row)
        for place, row in zip(room, victims[0].tolist(), strict=True):
            self._rows[wanted[place]], self._keys[row] = row, wanted[place]
            self._states[row], self._reads[row] = _WRITING, 0
            taken[place] = row
        self._core.release(present, now_ms)
        self._refused += len(missing) - len(room)
        return taken

    def facts(self, keys: Keys, parents: Keys, worth: Worth) -> Facts:
        """To be written with these blocks, now: each call gives later generations."""
        count = len(keys)
        generations = np.arange(self._generation + 1, self._generation + count + 1)
        self._generation += count
        uses = np.full(count, int(self._wall() * 1000), np.int64)
        return Facts(keys, parents, generations, uses, worth.priorities, worth.durations_ms)

    def finish_write(self, rows: Numbers, facts: Facts) -> None:
        """These rows hold what `begin_write` gave them out for. In prefix order: a block hangs behind one that was
        there before, or stands before it."""
        self._states[rows] = _READY
        now_ms = self._now_ms()
        place_of = {row: place for place, row in enumerate(rows.tolist())}
        parents = self.rows_of(facts.parents)
        stands_at = np.fromiter((place_of.get(row, -1) for row in parents.tolist()), np.int64, len(parents))
        is_before = (parents != MISS) & (stands_at < np.arange(len(rows)))
        self._core.fill(rows, np.where(is_before, parents, NO_BLOCK), NO_SESSION, now_ms)
        self._core.claim(_CLAIMANT, rows, facts.priorities, facts.durations_ms, now_ms)
        self._core.release(rows, now_ms)
        self._generations[rows], self._last_uses_ms[rows] = facts.generations, facts.last_uses_ms
        for row in rows.tolist():
            self._note(self._keys[row], is_stored=True)
        self._written += len(rows)

    def abort(self, rows: Numbers) -> None:
        """These rows were not written whole: they hold nothing."""
        for row in rows.tolist():
            self._erase(row)
        self._core.release(rows, self._now_ms())

    def take_changes(self) -> SlabChanges:
        """Since the last call, or since the index was made; what was restored is no change."""
        keys = np.frombuffer(b"".join(key for key, _ in self._changes), np.uint64).reshape(-1, KEY_WORDS)
        is_stored = np.array([stored for _, stored in self._changes], np.bool_)
        told = SlabChanges(keys, is_stored, not self._changes_lost)
        self._changes, self._changes_lost = [], False
        return told

    @property
    def uses(self) -> Uses:
        """As they are now; to be given to the next `restore` by way of `uses.with_uses`."""
        return Uses(self._generations.copy(), self._last_uses_ms.copy())

    @property
    def stats(self) -> SlabStats:
        num_rows = self._core.num_blocks
        return SlabStats(
            rows=num_rows,
            used=int((self._states == _READY).sum()),
            held=num_rows - self._core.num_candidates,
            restored=self._restored,
            written=self._written,
            evicted=self._core.stats.evictions,
            refused=self._refused,
            bad=self._bad,
        )

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Takes time linear in the rows."""
        self._core.check_integrity()
        self._core.check_facts(self._states == _READY, self._leases + (self._states == _WRITING))
        used = np.flatnonzero(self._states != _EMPTY).tolist()
        if {self._keys[row]: row for row in used} != self._rows or len(used) != len(self._rows):
            raise IntegrityError(f"slab: {len(used)} rows are in use, {len(self._rows)} keys lead to rows")

    def _change_leases(self, rows: Numbers, change: int) -> None:
        np.add.at(self._leases, rows, change)
        (self._core.hold if change > 0 else self._core.release)(rows, self._now_ms())

    def _note(self, key: bytes, *, is_stored: bool) -> None:
        self._changes.append((key, is_stored))
        if len(self._changes) > MAX_CHANGES:
            self._changes.clear()
            self._changes_lost = True

    def _erase(self, row: int) -> None:
        if self._states[row] == _READY:
            self._note(self._keys[row], is_stored=False)
        del self._rows[self._keys[row]]
        self._keys[row] = b""
        self._states[row] = _EMPTY
        self._generations[row] = 0

    def _parents_before(self, records: Records) -> Numbers:
        """The row of the block before each, where that is there and was written earlier: so no chain bites its tail."""
        generation_in = np.zeros(self._core.num_blocks, np.int64)
        generation_in[records["row"]] = records["generation"]
        parents = self.rows_of(records["parent"])
        is_before = (parents != MISS) & (generation_in[parents] < records["generation"])
        return np.where(is_before, parents, NO_BLOCK)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def worth_now(records: Records, wall_ms: int) -> Worth:
    """What headers claim, less the time that has gone by. A claim that would have ended by now has."""
    since_ms = np.maximum(wall_ms - records["last_use_ms"], 0)
    durations = np.clip(records["duration_ms"], 0, MAX_DURATION_MS)
    is_over = (durations != FOREVER) & (durations <= since_ms)
    priorities = np.clip(records["priority"], 0, MAX_PRIORITY)
    left_ms = np.where((durations == FOREVER) | is_over, FOREVER, durations - since_ms)
    return Worth(np.where(is_over, DEFAULT_PRIORITY, priorities).astype(np.int64), left_ms.astype(np.int64))


def _last_writes(records: Records) -> NDArray[np.void]:
    """In the order of writing, one of each key."""
    records = records[np.argsort(records["generation"])]
    _, from_end = np.unique(records["key"][::-1], axis=0, return_index=True)
    in_order: NDArray[np.void] = records[np.sort(len(records) - 1 - from_end)]
    return in_order
