"""Compiled operations on the arrays of an arena's index. All run under its lock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.cache.arena.tables import (
    CHANGE_RING,
    CHECK,
    EMPTY,
    EVICTED,
    KEY_WORDS,
    NUM_CHANGES,
    QUARANTINED,
    READY,
    STATE,
    STORED,
    WRITER,
    WRITING,
    Keys,
    Numbers,
    Tables,
)
from appliance.cache.kernel import entry, kernel

MISS, BEING_WRITTEN, BEING_WRITTEN_BY_US = -1, -2, -3
"""In the place of a row."""

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_NOBODY = -1
_POSITIVE = 2**63 - 1

Key = NDArray[np.uint64]


@kernel
def _checksum(key: Key) -> int:
    mixed = key[0] ^ (key[1] * _MIX[0]) ^ (key[2] * _MIX[1]) ^ (key[3] * _MIX[2])
    return int(mixed ^ (mixed >> np.uint64(29))) & _POSITIVE


@kernel
def _home(t: Tables, key: Key) -> int:
    return int(key[0]) & (t.table.size - 1)


@kernel
def _place(t: Tables, key: Key) -> int:
    """Where the key's row stands in the table, or the empty place where it would."""
    place = _home(t, key)
    while True:
        row = t.table[place] - 1
        if row < 0 or _is(t, row, key):
            return place
        place = (place + 1) & (t.table.size - 1)


@kernel
def _is(t: Tables, row: int, key: Key) -> bool:
    own = t.keys[row]
    return bool(own[0] == key[0] and own[1] == key[1] and own[2] == key[2] and own[3] == key[3])


@kernel
def _erase(t: Tables, row: int) -> None:
    """Take a row out of the table; those behind it move up, so that each is found without a gap. A no-op for a row
    that is not in it."""
    mask = t.table.size - 1
    hole = _place(t, t.keys[row])
    if t.table[hole] - 1 != row:
        return
    place = (hole + 1) & mask
    while t.table[place]:
        home = _home(t, t.keys[t.table[place] - 1])
        if ((place - home) & mask) >= ((place - hole) & mask):
            t.table[hole] = t.table[place]
            hole = place
        place = (place + 1) & mask
    t.table[hole] = 0


@kernel
def _tell(t: Tables, row: int, is_stored: bool) -> None:
    place = t.header[NUM_CHANGES] % CHANGE_RING
    t.changes[place, 0] = np.uint64(is_stored)
    t.changes[place, 1:] = t.keys[row]
    t.header[NUM_CHANGES] += 1


@entry
def find_rows(t: Tables, wanted: Keys, found: Numbers) -> None:
    """The READY row of each key, or MISS."""
    for i in range(len(wanted)):
        row = t.table[_place(t, wanted[i])] - 1
        found[i] = row if row >= 0 and t.rows[row, STATE] == READY else MISS


@entry
def look_up(t: Tables, wanted: Keys, owner: int, stops_at_miss: bool, found: Numbers) -> int:
    """What there is of each key, and of how many that was found out: with `stops_at_miss` none beyond a MISS."""
    for i in range(len(wanted)):
        row = t.table[_place(t, wanted[i])] - 1
        if row < 0:
            found[i] = MISS
            if stops_at_miss:
                return i + 1
        elif t.rows[row, STATE] == READY:
            found[i] = row
        else:
            found[i] = BEING_WRITTEN_BY_US if t.rows[row, WRITER] == owner else BEING_WRITTEN
    return len(wanted)


@entry
def change_leases(t: Tables, owner: int, held: Numbers, change: int) -> None:
    for row in held:
        t.leases[row, owner] += change


@entry
def evict(t: Tables, victims: Numbers) -> None:
    """These READY rows hold nothing any more."""
    for row in victims:
        _erase(t, row)
        t.rows[row, STATE] = EMPTY
        t.header[EVICTED] += 1
        _tell(t, row, False)


@entry
def begin_writing(t: Tables, wanted: Keys, taken: Numbers, owner: int) -> None:
    """These empty rows get these keys, and are to be written by `owner`, who holds them once."""
    for i in range(len(taken)):
        row = taken[i]
        for word in range(KEY_WORDS):
            t.keys[row, word] = wanted[i, word]
        t.rows[row, CHECK] = _checksum(wanted[i])
        t.rows[row, WRITER] = owner
        t.rows[row, STATE] = WRITING
        t.leases[row, owner] += 1
        t.table[_place(t, wanted[i])] = row + 1


@entry
def end_writing(t: Tables, wanted: Keys, owner: int, is_whole: bool, ended: Numbers) -> None:
    """The rows that `owner` wrote for these keys, READY now, or EMPTY unless `is_whole`; MISS where it wrote none."""
    for i in range(len(wanted)):
        row = t.table[_place(t, wanted[i])] - 1
        if row < 0 or t.rows[row, STATE] != WRITING or t.rows[row, WRITER] != owner:
            ended[i] = MISS
            continue
        ended[i] = row
        if is_whole:
            t.rows[row, STATE] = READY
            t.header[STORED] += 1
            _tell(t, row, True)
        else:
            _erase(t, row)
            t.rows[row, STATE] = EMPTY
        t.leases[row, owner] -= 1
        t.rows[row, WRITER] = _NOBODY


@entry
def give_up_writing(t: Tables, owner: int, given_up: Numbers) -> int:
    """The rows that `owner` was writing are QUARANTINED. How many; they head `given_up`."""
    count = 0
    for row in range(len(t.rows)):
        if t.rows[row, STATE] == WRITING and t.rows[row, WRITER] == owner:
            _erase(t, row)
            t.rows[row, STATE] = QUARANTINED
            given_up[count] = row
            count += 1
    return count


@entry
def enter_all(t: Tables) -> int:
    """Fill the table anew. A row whose key was not written whole, or stands in another row too, becomes EMPTY; how many
    did."""
    t.table[:] = 0
    lost = 0
    for row in range(len(t.rows)):
        if t.rows[row, STATE] not in (WRITING, READY):
            continue
        place = _place(t, t.keys[row])
        is_nobodys = t.rows[row, STATE] == WRITING and t.rows[row, WRITER] < 0
        if t.table[place] or is_nobodys or t.rows[row, CHECK] != _checksum(t.keys[row]):
            t.rows[row, STATE] = EMPTY
            lost += 1
        else:
            t.table[place] = row + 1
    return lost


@entry
def first_lost(t: Tables) -> int:
    """A row that the table does not lead to although it should, or the other way round; MISS for none."""
    for row in range(len(t.rows)):
        is_found = t.table[_place(t, t.keys[row])] - 1 == row
        if is_found != (t.rows[row, STATE] in (WRITING, READY)):
            return row
    return MISS
