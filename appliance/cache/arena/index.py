"""The index of the host arena: which row holds which block, who holds it, and which row goes next.

Every process of the box works on the same arrays under one lock; there is no server. The order in which rows go is the
eviction core's, as on the GPU. A row that somebody holds stays: while it is written, while it is read, and from a
lookup to the end of the scheduler's step, for a hit that is gone when it is loaded ends vLLM's engine.

A process may die anywhere. What it held is given back once its whole engine is gone (`reap`), what it was changing is
worked out anew by the next who takes the lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena import kernels
from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.lock import ArenaLock
from appliance.cache.arena.owners import Owners
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.row_map import RowMap, row_map
from appliance.cache.arena.tables import (
    BARRED,
    BUSY,
    CHANGE_RING,
    DROPPED_STORES,
    EMPTY,
    EVICTED,
    FREE_AT_MS,
    KEY_WORDS,
    NAMESPACE,
    NUM_CHANGES,
    QUARANTINED,
    READY,
    REAPED_LEASES,
    REAPED_ROWS,
    REBUILDS,
    RETIRED,
    STATE,
    STORED,
    WRITER,
    WRITING,
    Geometry,
    Keys,
    Numbers,
    Tables,
    mapped,
    read_geometry,
    sign,
    tables_in,
)
from appliance.cache.errors import CacheError, IntegrityError, LayoutMismatch
from appliance.cache.eviction import NO_BLOCK, NO_RULE, EvictionCore, Shares
from appliance.cache.tier import Tier

ANONYMOUS: Final = 0
"""The slot of what no session is named for."""
QUARANTINE_MS: Final = 1000
"""A copy that a GPU had begun may go on for a moment after its process is gone."""


class Worth(NamedTuple):
    """What blocks are worth, one element each, as the eviction core takes it."""

    priorities: Numbers
    durations_ms: Numbers


class Changes(NamedTuple):
    """What became of rows since some change, oldest first. Where `is_whole` is false some were forgotten: what is
    stored must be read anew."""

    is_stored: NDArray[np.bool_]
    keys: Keys
    position: int
    is_whole: bool


class ArenaStats(NamedTuple):
    """`rows` in use are those with a block, `held` those that cannot go now. The rest counts since the arena was
    made: blocks stored and evicted, stores dropped for want of room, rows and leases taken back from the dead, and how
    often the index was mended."""

    rows: int
    used: int
    held: int
    stored: int
    evicted: int
    dropped_stores: int
    reaped_rows: int
    reaped_leases: int
    rebuilds: int


class ArenaIndex:
    """One process's way into an arena. Not for several threads at a time."""

    def __init__(self, place: ArenaPlace, tables: Tables, geometry: Geometry, lock: ArenaLock) -> None:
        self.place = place
        self.geometry = geometry
        self._tables = tables
        self._header = tables.header
        self._lock = lock
        self._owners = Owners(place, tables.owners)
        self._core = EvictionCore.attach(tables.core)
        self._owner = -1

    @classmethod
    def open(cls, place: ArenaPlace, geometry: Geometry | None = None) -> Self:
        """The arena that is there, or a new one of this geometry where there is none.

        Raises `LayoutMismatch` when the one that is there has rows of another size or was made by other code,
        `CacheError` when there is none, or no memory for one; nothing is left of it then.
        """
        lock = ArenaLock(place.lock_file)
        try:
            with lock.held():
                found = _found_or_made(place, geometry)
                return cls(place, tables_in(mapped(place.index_file, found.num_bytes), found), found, lock)
        except BaseException:
            lock.close()
            raise

    def join(self, token: bytes) -> None:
        """This process is one of the owner's with this token (16 bytes), until it ends; to be called once."""
        with self._change():
            owner = self._owners.find(token)
            if owner is None:
                self._reap()
                owner = self._owners.free()
                self._owners.enter(owner, token)
            self._owners.live(owner)
            self._owner = owner

    # What the scheduler asks

    def look_up(self, keys: Keys, *, stops_at_miss: bool = True) -> Numbers:
        """For each key its row, leased once, or MISS, BEING_WRITTEN or BEING_WRITTEN_BY_US; with `stops_at_miss` up to
        the first MISS. Every row must be released."""
        found = np.empty(len(keys), np.int64)
        t = self._tables
        with self._change():
            count = kernels.look_up(t, keys, self._owner, stops_at_miss, found)
            self._hold(found[:count][found[:count] >= 0])
        return found[:count]

    def lease(self, rows: Numbers, session: str | None, worth: Worth) -> None:
        """Once more each; this owner must hold them. The session reads these blocks: it owns them from now on and
        claims this."""
        with self._change():
            self._hold(rows)
            slot, now_ms = self._slot(session), _now_ms()
            self._core.hit(rows, slot, now_ms)
            self._core.claim(slot, rows, worth.priorities, worth.durations_ms, now_ms)

    def release(self, rows: Numbers) -> None:
        """Once each. They are given in the order of their prompt, the head of which goes last."""
        with self._change():
            kernels.change_leases(self._tables, self._owner, rows, -1)
            self._core.release(rows, _now_ms())

    def rows_of(self, keys: Keys) -> Numbers:
        """The row of each key, or MISS. Only rows that this owner holds are sure to stay."""
        found = np.empty(len(keys), np.int64)
        with self._change():
            kernels.find_rows(self._tables, keys, found)
        return found

    def begin_store(self, keys: Keys) -> Numbers:
        """A row to write for each key, or MISS where the block is there or being written already, or there is no room.

        In prefix order: the head is stored first. What is there counts as used. Blocks worth more than the default are
        not spared: claims are soft.
        """
        t = self._tables
        found = np.empty(len(keys), np.int64)
        taken = np.full(len(keys), MISS, np.int64)
        with self._change():
            kernels.look_up(t, keys, self._owner, False, found)
            missing = np.flatnonzero(found == MISS)
            present = found[found >= 0]
            now_ms = _now_ms()
            self._core.hold(present, now_ms)
            room = missing[: self._core.num_candidates]
            victims = self._core.take_columns(len(room), now_ms)
            kernels.evict(t, victims[0][victims[1] != 0])
            kernels.begin_writing(t, keys[room], victims[0], self._owner)
            self._core.release(present, now_ms)
            self._header[DROPPED_STORES] += len(missing) - len(room)
            taken[room] = victims[0]
        return taken

    def end_store(
        self,
        keys: Keys,
        parents: Keys,
        session: str | None,
        worth: Worth,
        *,
        is_whole: bool,
        barred: Numbers | None = None,
    ) -> int:
        """The rows that this owner wrote for these keys hold them now, or nothing unless `is_whole`. How many did it
        write: the others are no error. `barred` are the tiers to which each must not go, `None`: it may go to any.

        In prefix order; `parents` are the keys of the blocks before them, zeros for none.
        """
        t = self._tables
        ended, before = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        with self._change():
            kernels.end_writing(t, keys, self._owner, is_whole, ended)
            mine = np.flatnonzero(ended >= 0)
            rows, now_ms = ended[mine], _now_ms()
            if is_whole:
                t.rows[rows, BARRED] = 0 if barred is None else barred[mine]
                kernels.find_rows(t, parents, before)
                slot = self._slot(session)
                self._core.fill(rows, np.where(before[mine] == MISS, NO_BLOCK, before[mine]), slot, now_ms)
                self._core.claim(slot, rows, worth.priorities[mine], worth.durations_ms[mine], now_ms, NO_RULE)
            self._core.release(rows, now_ms)
        return len(rows)

    # What the box asks

    def reap(self) -> tuple[int, int]:
        """Take back what dead owners hold: how many rows that they were writing, and how many leases."""
        with self._change():
            return self._reap()

    def give_up(self) -> None:
        """This owner's own rows in the making are in quarantine, its leases are gone: its engine forgot them all."""
        with self._change():
            self._take_back(self._owner)

    def set_keeps(self, keeps: dict[str, float]) -> None:
        """What keeping these sessions' blocks is worth, as the forecast has it; unknown sessions are left out."""
        with self._change():
            for session, keep in keeps.items():
                slot = self._find_slot(session)
                if slot is not None:
                    self._core.set_keep(slot, keep)

    def blocks_of(self, sessions: Iterable[str]) -> dict[str, int]:
        """How many blocks each of these was the last to use; those without any are left out."""
        with self._change():
            owned = self._core.num_owned()
            slots = {session: self._find_slot(session) for session in sessions}
        counted = {session: int(owned[slot]) for session, slot in slots.items() if slot is not None}
        return {session: blocks for session, blocks in counted.items() if blocks}

    def row_map(self, cells: int, sessions: Iterable[str]) -> RowMap:
        """The rows in use in at most so many cells; of these sessions the names are told. Takes time linear in the
        rows, for which nobody waits: rows may change meanwhile."""
        with self._change():
            now_ms = _now_ms()
            self._core.expire(now_ms)
        named = {int(_name_of(session)): session for session in sessions}
        return row_map(self._tables, self._core.columns(), named, cells, now_ms)

    def finish(self, sessions: Iterable[str]) -> None:
        """Nothing is expected of them any more: what they claim is worth nothing. Those not known are left out."""
        with self._change():
            for session in sessions:
                slot = self._find_slot(session)
                if slot is not None:
                    self._core.finish(slot)

    def flush(self) -> int:
        """Every block that nobody holds is gone. How many."""
        with self._change():
            now_ms = _now_ms()
            rows, had_content = self._core.take_columns(self._core.num_candidates, now_ms)[:2]
            dropped = rows[had_content != 0]
            kernels.evict(self._tables, dropped)
            self._core.release(rows, now_ms)
        return len(dropped)

    def retire(self, count: int) -> Numbers:
        """Take so many rows out of use, those that would go next, as far as nobody holds them; which. What they held is
        gone."""
        with self._change():
            victims = self._core.take_columns(min(count, self._core.num_candidates), _now_ms())
            rows: Numbers = victims[0]
            kernels.evict(self._tables, rows[victims[1] != 0])
            self._tables.rows[rows, STATE] = RETIRED
            self._keep_shares()
        return rows

    def reinstate(self, rows: Numbers) -> None:
        """These retired rows are in use again."""
        with self._change():
            self._tables.rows[rows, STATE] = EMPTY
            self._core.release(rows, _now_ms())
            self._keep_shares()

    def retired(self) -> Numbers:
        """The rows that are out of use."""
        rows: Numbers = np.flatnonzero(self._tables.rows[:, STATE] == RETIRED)
        return rows

    @property
    def namespace(self) -> bytes:
        """What this box's engines mix into their keys; zeros until one has said so."""
        return self._header[NAMESPACE : NAMESPACE + KEY_WORDS].tobytes()

    def set_namespace(self, words: Keys) -> None:
        """What this box's engines mix into their keys."""
        with self._change():
            self._header[NAMESPACE : NAMESPACE + KEY_WORDS] = words.view(np.int64)

    def block_hashes(self, keys: Keys) -> Keys:
        """As the engines have them, four words each."""
        return keys ^ self._header[NAMESPACE : NAMESPACE + KEY_WORDS].view(np.uint64)

    def changes_since(self, position: int) -> Changes:
        """Of stored and evicted blocks; `position` is the last answer's, 0 at first."""
        with self._change():
            now = int(self._header[NUM_CHANGES])
            is_whole = now - position <= CHANGE_RING
            places = np.arange(position if is_whole else now, now) % CHANGE_RING
            rows = self._tables.changes[places]
        return Changes(rows[:, 0] != 0, rows[:, 1:], now, is_whole)

    def barred(self, rows: Numbers, tier: Tier) -> NDArray[np.bool_]:
        """Which of these rows, that this owner holds, must not go to this tier."""
        is_barred: NDArray[np.bool_] = (self._tables.rows[rows, BARRED] & tier.value) != 0
        return is_barred

    def facts(self, rows: Numbers) -> tuple[Keys, Worth]:
        """Of rows that this owner holds: the keys of the blocks before them, zeros for none, and what they are worth by
        their claims."""
        with self._change():
            before = self._core.parents(rows)
            parents = np.where((before == NO_BLOCK)[:, None], np.uint64(0), self._tables.keys[before])
            return parents, Worth(*self._core.worths(rows))

    def stored_keys(self) -> tuple[Keys, int]:
        """All that is READY, and the position of the changes that this holds."""
        with self._change():
            ready = self._tables.rows[:, STATE] == READY
            return self._tables.keys[ready], int(self._header[NUM_CHANGES])

    @property
    def stats(self) -> ArenaStats:
        header, states = self._header, self._tables.rows[:, STATE]
        num_rows = self.geometry.num_rows - int((states == RETIRED).sum())
        held = num_rows - self._core.num_candidates
        counted = (int(header[one]) for one in (STORED, EVICTED, DROPPED_STORES, REAPED_ROWS, REAPED_LEASES, REBUILDS))
        return ArenaStats(num_rows, int((states == READY).sum()), held, *counted)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Takes the lock, and time linear in the rows."""
        with self._change():
            self._core.check_integrity()
            self._check_rows()

    def close(self) -> None:
        """This process is in the arena no more; what it holds is its owner's as long as another process of it lives."""
        self._owners.leave()
        self._lock.close()

    def _keep_shares(self) -> None:
        """Of the rows in use."""
        used, whole = 1 - len(self.retired()) / self.geometry.num_rows, Shares()
        self._core.set_shares(Shares(used * whole.session, used * whole.total))

    def _change(self) -> AbstractContextManager[None]:
        return self._lock.changing(self._header, self._mend)

    def _hold(self, rows: Numbers) -> None:
        kernels.change_leases(self._tables, self._owner, rows, 1)
        self._core.hold(rows, _now_ms())

    def _find_slot(self, session: str) -> int | None:
        found = np.flatnonzero(self._tables.session_names == _name_of(session))
        return int(found[0]) if found.size else None

    def _slot(self, session: str | None) -> int:
        """The session's, the one used longest ago where it has none yet."""
        if session is None:
            return ANONYMOUS
        t, slot = self._tables, self._find_slot(session)
        if slot is None:
            slot = 1 + int(t.session_uses[1:].argmin())
            if t.session_names[slot]:
                self._core.forget(slot)
            t.session_names[slot] = _name_of(session)
        t.session_uses[slot] = max(int(t.session_uses.max()) + 1, 1)
        return slot

    def _reap(self) -> tuple[int, int]:
        self._free_quarantined()
        all_rows = all_leases = 0
        for owner in list(self._owners.dead()):
            rows, leases = self._take_back(owner)
            self._owners.forget(owner)
            all_rows, all_leases = all_rows + rows, all_leases + leases
        return all_rows, all_leases

    def _take_back(self, owner: int) -> tuple[int, int]:
        t, now_ms = self._tables, _now_ms()
        given_up = np.empty(self.geometry.num_rows, np.int64)
        rows = given_up[: kernels.give_up_writing(t, owner, given_up)]
        # A quarantined row is held by nobody's lease, and stays held.
        t.leases[rows, owner] -= 1
        t.rows[rows, FREE_AT_MS] = now_ms + QUARANTINE_MS
        leased = np.flatnonzero(t.leases[:, owner])
        counts = t.leases[leased, owner].copy()
        t.leases[leased, owner] = 0
        self._core.release(np.repeat(leased, counts), now_ms)
        self._header[REAPED_ROWS] += len(rows)
        self._header[REAPED_LEASES] += int(counts.sum())
        return len(rows), int(counts.sum())

    def _free_quarantined(self) -> None:
        t, now_ms = self._tables, _now_ms()
        is_over = (t.rows[:, STATE] == QUARANTINED) & (t.rows[:, FREE_AT_MS] <= now_ms)
        rows = np.flatnonzero(is_over)
        t.rows[rows, STATE] = EMPTY
        self._core.release(rows, now_ms)

    def _mend(self) -> None:
        """Somebody died in the middle of a change: what follows from the rows' own facts is worked out anew."""
        t = self._tables
        kernels.enter_all(t)
        states = t.rows[:, STATE]
        t.leases[states == EMPTY] = 0
        t.leases[_is_out_of_reach(states)] = 0
        is_written = np.flatnonzero(states == WRITING)
        t.leases[is_written] = 0
        t.leases[is_written, t.rows[is_written, WRITER]] = 1
        holders = t.leases.sum(axis=1) + _is_out_of_reach(states)
        self._core.restore(states == READY, holders, _now_ms())
        self._header[REBUILDS] += 1
        self._header[BUSY] = 0

    def _check_rows(self) -> None:
        t, states = self._tables, self._tables.rows[:, STATE]
        lost = kernels.first_lost(t)
        if lost != MISS:
            raise IntegrityError(f"arena: row {lost}, in state {states[lost]}, and the table disagree")
        holders = t.leases.sum(axis=1) + _is_out_of_reach(states)
        self._core.check_facts(states == READY, holders)


def _is_out_of_reach(states: Numbers) -> NDArray[np.bool_]:
    """Rows that stay held although nobody has a lease on them."""
    is_out: NDArray[np.bool_] = (states == QUARANTINED) | (states == RETIRED)
    return is_out


def _found_or_made(place: ArenaPlace, wanted: Geometry | None) -> Geometry:
    if not place.index_file.exists():
        if wanted is None:
            raise CacheError(f"{place.index_file}: there is no arena")
        _make(place, wanted)
    found = read_geometry(place.index_file)
    if wanted is not None and found.row_bytes != wanted.row_bytes:
        raise LayoutMismatch(
            f"{place.index_file}: rows of {found.row_bytes} bytes, this engine needs {wanted.row_bytes}"
        )
    return found


def _make(place: ArenaPlace, geometry: Geometry) -> None:
    """An empty arena, its memory there already: a page that is missing later would end the process that writes it."""
    unsigned = place.index_file.with_name(f"{place.index_file.name}.new")
    rows_bytes = geometry.num_rows * geometry.row_bytes
    try:
        for path, num_bytes in ((unsigned, geometry.num_bytes), (place.rows_file, rows_bytes)):
            file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, num_bytes)
            finally:
                os.close(file)
        tables = tables_in(mapped(unsigned, geometry.num_bytes), geometry)
        tables.rows[:, WRITER] = -1
        EvictionCore(geometry.num_rows, num_sessions=geometry.num_sessions, buffer=tables.core)
        sign(tables, geometry)
        unsigned.rename(place.index_file)
    except OSError as error:
        for path in (unsigned, place.rows_file):
            path.unlink(missing_ok=True)
        gibibytes = (rows_bytes + geometry.num_bytes) / 2**30
        raise CacheError(f"{place.memory}: no room for an arena of {gibibytes:.1f} GiB: {error.strerror}") from error


def _name_of(session: str) -> np.uint64:
    """64 bits of it, never 0. Two sessions of one name share their claims: harmless, and one in 10¹⁶."""
    return np.uint64(int.from_bytes(blake2b(session.encode(errors="replace"), digest_size=8).digest(), "little") | 1)


def _now_ms() -> int:
    """One clock for all processes of a machine."""
    return time.monotonic_ns() // 1_000_000
