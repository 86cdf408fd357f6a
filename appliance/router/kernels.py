"""Compiled operations on the flat arrays of the prefix index and of the engines' block tables.

A table is three arrays. `rows` (uint64) holds one entry a row, its key in column KEY; the other two columns are its
owner's. `slots` (int32) finds rows by key: open addressing, linear probing, a power of two at most half full. `state`
(int64) counts. Rows are only ever added, behind one another, and stay when nobody needs them any more; their owner
copies those still needed into new arrays when there is no room left. So whoever reads while another thread writes finds
every row where it was.

The index adds `links` (int32): each row's place in the tree of prefixes. A parent comes before its children.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.router.compiled import brief_kernel, kernel

Slots = NDArray[np.int32]
Rows = NDArray[np.uint64]
Links = NDArray[np.int32]
State = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Numbers = NDArray[np.int32]


class Arrays(NamedTuple):
    """Those of the index. Replaced as a whole when there is no room: a reader keeps those that it began with."""

    slots: Slots
    rows: Rows
    links: Links
    state: State


NONE = -1
KEY = 0
HELD, REACH = 1, 2
"""Of the index. Bit `worker × TIERS + tier` of HELD: that worker holds the block in that tier. Of REACH: it holds the
block and all before it, each in that tier or a faster one."""
OWN, COPIES = 1, 2
"""Of an engine's blocks: the router's hash of the block, and how many copies the engine has."""

PARENT, CHILD, NEXT = 0, 1, 2

USED = 0
"""Of the state: rows in use."""
KNOWN = 1
"""Of an engine's state: rows with copies."""
LIVE = 1
"""Of the index's state: rows that somebody holds."""
COUNTS = 2
"""Of the index's state: from here on, the blocks held per bit."""

TIERS = 4
MASK_BITS = 64

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ABOVE_FIRST = np.uint64(0xEEEEEEEEEEEEEEEE)
_ABOVE_SECOND = np.uint64(0xCCCCCCCCCCCCCCCC)


# Tables


@kernel
def _home(slots: Slots, key: np.uint64) -> int:
    return int((key * _SPREAD) >> np.uint64(32)) & (slots.size - 1)


@kernel
def find(slots: Slots, rows: Rows, key: np.uint64) -> int:
    """The row of `key` or NONE."""
    place = _home(slots, key)
    while True:
        row: int = slots[place]
        if row == NONE or rows[row, KEY] == key:
            return row
        place = (place + 1) & (slots.size - 1)


@kernel
def _enter(slots: Slots, rows: Rows, row: int) -> None:
    place = _home(slots, rows[row, KEY])
    while slots[place] != NONE:
        place = (place + 1) & (slots.size - 1)
    slots[place] = row


@kernel
def _add_row(slots: Slots, rows: Rows, state: State, key: np.uint64) -> int:
    """A row for `key`, its other columns 0. There must be room."""
    row: int = state[USED]
    rows[row, KEY] = key
    rows[row, 1] = 0
    rows[row, 2] = 0
    state[USED] += 1
    _enter(slots, rows, row)
    return row


@kernel
def _find_all(slots: Slots, rows: Rows, keys: Hashes) -> Counts:
    """The rows of all, found before anything is written: the processor waits for many of them at the same time."""
    found = np.empty(keys.size, np.int64)
    for place in range(keys.size):
        found[place] = find(slots, rows, keys[place])
    return found


@kernel
def enter_all(slots: Slots, rows: Rows, used: int) -> None:
    """Fill empty `slots` with the first `used` rows."""
    for row in range(used):
        _enter(slots, rows, row)


@kernel
def count_unknown(slots: Slots, rows: Rows, hashes: Hashes) -> int:
    """How many of `hashes` have no row. One that comes twice counts twice."""
    unknown = 0
    for block_hash in hashes:
        unknown += find(slots, rows, block_hash) == NONE
    return unknown


# An engine's blocks


@kernel
def add_copies(
    slots: Slots, rows: Rows, state: State, engine_hashes: Hashes, own_hashes: Hashes, is_new: Flags
) -> None:
    """Count one copy of each block. An engine hash known already keeps its first meaning: `own_hashes` gets it."""
    for place in range(engine_hashes.size):
        row = find(slots, rows, engine_hashes[place])
        if row == NONE:
            row = _add_row(slots, rows, state, engine_hashes[place])
        is_new[place] = rows[row, COPIES] == 0
        if is_new[place]:
            rows[row, OWN] = own_hashes[place]
            state[KNOWN] += 1
        rows[row, COPIES] += _ONE
        own_hashes[place] = rows[row, OWN]


@kernel
def engine_hashes_of(rows: Rows, used: int, wanted_slots: Slots, wanted: Rows, found: Hashes) -> int:
    """Fill `found` with the engine hashes of blocks it holds whose own hash is one of `wanted`; how many there are.

    Reads every row: nothing leads from own hashes to the engine's.
    """
    count = 0
    for row in range(used):
        if rows[row, COPIES] and count < found.size and find(wanted_slots, wanted, rows[row, OWN]) != NONE:
            found[count] = rows[row, KEY]
            count += 1
    return count


@kernel
def drop_copies(slots: Slots, rows: Rows, state: State, engine_hashes: Hashes, gone: Hashes) -> tuple[int, int]:
    """How many last copies went, whose own hashes head `gone`, and how many blocks were unknown."""
    num_gone = unknown = 0
    for row in _find_all(slots, rows, engine_hashes):
        if row == NONE or rows[row, COPIES] == 0:
            unknown += 1
            continue
        rows[row, COPIES] -= _ONE
        if rows[row, COPIES] == 0:
            gone[num_gone] = rows[row, OWN]
            num_gone += 1
    state[KNOWN] -= num_gone
    return num_gone, unknown


# The index


@kernel
def _in_tier_or_faster(held: np.uint64) -> np.uint64:
    held |= (held << _ONE) & _ABOVE_FIRST
    return held | ((held << np.uint64(2)) & _ABOVE_SECOND)


@kernel
def _reach(rows: Rows, links: Links, row: int) -> np.uint64:
    parent = links[row, PARENT]
    before: np.uint64 = _ALL if parent == NONE else rows[parent, REACH]
    return _in_tier_or_faster(rows[row, HELD]) & before


@kernel
def _set_reach(rows: Rows, links: Links, row: int) -> bool:
    reach = _reach(rows, links, row)
    if rows[row, REACH] == reach:
        return False
    rows[row, REACH] = reach
    return True


@kernel
def _update_reach(rows: Rows, links: Links, top: int) -> None:
    """Set REACH of `top` and, where that changes something, of all behind it, depth first.

    A bit that is cleared here was set here before, so this costs no more than the stores did, unless one block near
    the root comes and goes while all behind it stay.
    """
    if not _set_reach(rows, links, top) or links[top, CHILD] == NONE:
        return
    row = links[top, CHILD]
    while True:
        if _set_reach(rows, links, row) and links[row, CHILD] != NONE:
            row = links[row, CHILD]
            continue
        while links[row, NEXT] == NONE:
            row = links[row, PARENT]
            if row == top:
                return
        row = links[row, NEXT]


@kernel
def _link(links: Links, row: int, parent: int) -> None:
    links[row, PARENT] = parent
    links[row, CHILD] = links[row, NEXT] = NONE
    if parent != NONE:
        links[row, NEXT] = links[parent, CHILD]
        links[parent, CHILD] = row


@kernel
def store_blocks(
    slots: Slots, rows: Rows, links: Links, state: State, hashes: Hashes, parent: int, bit: int, is_new: Flags
) -> None:
    """Set `bit` of each block, the first of which is behind row `parent`. There must be room for all."""
    mask = _ONE << np.uint64(bit)
    live = count = 0
    for place in range(hashes.size):
        row = find(slots, rows, hashes[place])
        if row == NONE:
            row = _add_row(slots, rows, state, hashes[place])
            _link(links, row, parent)
        held = rows[row, HELD]
        is_new[place] = held & mask == 0
        if is_new[place]:
            live += held == 0
            rows[row, HELD] = held | mask
            count += 1
            _update_reach(rows, links, row)
        parent = row
    state[LIVE] += live
    state[COUNTS + bit] += count


@kernel
def mark_blocks(slots: Slots, rows: Rows, links: Links, state: State, hashes: Hashes, bit: int) -> int:
    """Set `bit` of each block that has a row. How many have none."""
    mask = _ONE << np.uint64(bit)
    unknown = 0
    for row in _find_all(slots, rows, hashes):
        if row == NONE:
            unknown += 1
        elif rows[row, HELD] & mask == 0:
            state[LIVE] += rows[row, HELD] == 0
            rows[row, HELD] |= mask
            state[COUNTS + bit] += 1
            _update_reach(rows, links, row)
    return unknown


@kernel
def remove_blocks(slots: Slots, rows: Rows, links: Links, state: State, hashes: Hashes, bit: int) -> int:
    """Clear `bit` of each block. Returns how many did not have it."""
    mask = _ONE << np.uint64(bit)
    unknown = 0
    for row in _find_all(slots, rows, hashes):
        if row == NONE or rows[row, HELD] & mask == 0:
            unknown += 1
            continue
        rows[row, HELD] ^= mask
        state[COUNTS + bit] -= 1
        state[LIVE] -= rows[row, HELD] == 0
        _update_reach(rows, links, row)
    return unknown


@kernel
def clear_bits(rows: Rows, state: State, mask: np.uint64) -> None:
    """Clear all bits of `mask` in every block."""
    for row in range(state[USED]):
        if rows[row, HELD] & mask:
            rows[row, HELD] &= ~mask
            state[LIVE] -= rows[row, HELD] == 0
        rows[row, REACH] &= ~mask
    for bit in range(MASK_BITS):
        if (mask >> np.uint64(bit)) & _ONE:
            state[COUNTS + bit] = 0


@kernel
def number_needed(rows: Rows, links: Links, numbers: Counts) -> int:
    """Number the rows that somebody holds, or that have such a one behind them, from 0; the others get NONE."""
    numbers[:] = NONE
    for row in range(numbers.size - 1, -1, -1):
        if rows[row, HELD] != 0:
            numbers[row] = 0
        if numbers[row] == 0 and links[row, PARENT] != NONE:
            numbers[links[row, PARENT]] = 0
    needed = 0
    for row in range(numbers.size):
        if numbers[row] == 0:
            numbers[row] = needed
            needed += 1
    return needed


@kernel
def copy_numbered(rows: Rows, links: Links, numbers: Counts, new_rows: Rows, new_links: Links) -> None:
    """Copy each row that has a number to the new row of that number."""
    for row in range(numbers.size):
        number = numbers[row]
        if number != NONE:
            new_rows[number] = rows[row]
            parent = links[row, PARENT]
            _link(new_links, number, NONE if parent == NONE else numbers[parent])


@kernel
def carry_rows(old: Arrays, start: int, stop: int, numbers: Numbers, new: Arrays) -> bool:
    """Carry over those of the rows `start` up to `stop` that somebody holds, and all before them. False: no room.

    `numbers` has for each row that was carried over the number of its new one, plus 1; 0 for the others. What is
    carried over is an index of its own, but for its counts of blocks.
    """
    for row in range(start, stop):
        if old.rows[row, HELD] != 0 and numbers[row] == 0 and not _carry(old, row, numbers, new):
            return False
    return True


@kernel
def _carry(old: Arrays, row: int, numbers: Numbers, new: Arrays) -> bool:
    """Carry over a row and all before it that were not carried over yet."""
    depth, top = 0, row
    while top != NONE and numbers[top] == 0:
        depth += 1
        top = old.links[top, PARENT]
    first: int = new.state[USED]
    if first + depth > len(new.rows):
        return False
    number = first + depth
    while row != top:
        number -= 1
        numbers[row] = number + 1
        new.rows[number, KEY] = old.rows[row, KEY]
        new.rows[number, HELD] = old.rows[row, HELD]
        row = old.links[row, PARENT]
    parent = NONE if top == NONE else numbers[top] - 1
    for number in range(first, first + depth):
        _link(new.links, number, parent)
        new.rows[number, REACH] = _reach(new.rows, new.links, number)
        _enter(new.slots, new.rows, number)
        parent = number
    new.state[USED] += depth
    return True


@kernel
def follow_rows(old: Arrays, hashes: Hashes, passed: int, numbers: Numbers, new: Arrays) -> bool:
    """It has changed who holds these blocks: the same for those of the first `passed` rows, which `carry_rows` has seen
    before. False: no room."""
    for row in _find_all(old.slots, old.rows, hashes):
        if row == NONE or row >= passed:
            continue
        number = numbers[row] - 1
        if number == NONE:
            if old.rows[row, HELD] != 0 and not _carry(old, row, numbers, new):
                return False
        elif new.rows[number, HELD] != old.rows[row, HELD]:
            new.rows[number, HELD] = old.rows[row, HELD]
            _update_reach(new.rows, new.links, number)
    return True


@brief_kernel
def match_blocks(slots: Slots, rows: Rows, hashes: Hashes, depths: Counts) -> int:
    """Write, per worker and tier, how many leading blocks are reached. Returns how many hashes were looked up.

    REACH only loses bits from one block of a prompt to the next, so each depth can be found by bisection: the deepest
    first; what all others are known to reach by then is where the search for the next begins. Takes no lock: of what
    another thread is writing it sees each block as it was before or after.
    """
    depths[:] = 0
    if hashes.size == 0:
        return 0
    open_bits, touched, shallowest, high = _reach_at(slots, rows, hashes[0]), 1, 1, hashes.size
    while open_bits:
        low, deepest = shallowest, open_bits
        while low < high:
            middle = (low + high + 1) // 2
            reach = _reach_at(slots, rows, hashes[middle - 1]) & open_bits
            touched += 1
            if reach == open_bits:
                shallowest = middle
            if reach:
                low, deepest = middle, reach
            else:
                high = middle - 1
        _write_depth(depths, deepest, low)
        open_bits &= ~deepest
        high = low - 1
    return touched


@kernel
def _reach_at(slots: Slots, rows: Rows, block_hash: np.uint64) -> np.uint64:
    row = find(slots, rows, block_hash)
    reach: np.uint64 = np.uint64(0) if row == NONE else rows[row, REACH]
    return reach


@kernel
def _write_depth(depths: Counts, bits: np.uint64, depth: int) -> None:
    worker = 0
    while bits:
        for tier in range(TIERS):
            if bits & (_ONE << np.uint64(tier)):
                depths[worker, tier] = depth
        bits >>= np.uint64(TIERS)
        worker += 1


@kernel
def first_wrong_row(slots: Slots, rows: Rows, links: Links, state: State, counts: Counts) -> int:
    """A row of the index that contradicts itself or its neighbours, or NONE. Adds up the bits of HELD in `counts`."""
    num_children = num_linked = 0
    for row in range(state[USED]):
        if find(slots, rows, rows[row, KEY]) != row or links[row, PARENT] >= row:
            return row
        if rows[row, REACH] != _reach(rows, links, row):
            return row
        num_children += links[row, PARENT] != NONE
        child = links[row, CHILD]
        while child != NONE:
            num_linked += 1
            if links[child, PARENT] != row or num_linked > state[USED]:
                return row
            child = links[child, NEXT]
        for bit in range(MASK_BITS):
            counts[bit] += np.int64((rows[row, HELD] >> np.uint64(bit)) & _ONE)
    return NONE if num_linked == num_children else 0
