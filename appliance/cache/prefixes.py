"""Parents and children, and the rule that a block is worth at most what its parent is.

A change is carried down only to the descendants whose effective priority it changes: constant time for each of these
and for each of their children looked at.
"""

from __future__ import annotations

from appliance.cache.buckets import bucket_of, is_candidate, place_moved, withdraw
from appliance.cache.kernel import kernel
from appliance.cache.layout import NO_BLOCK
from appliance.cache.prefetch import BLOCKS_AHEAD, fetch_block, fetch_neighbours
from appliance.cache.rows import block_at, change_at, header_at, state_at

_MOST_TURNS = 32
"""Of sorting: each halves the number of runs."""


@kernel
def join(t: int, block: int, parent: int) -> None:
    """Make the block, which has no parent, the first child of `parent`. Priorities stay as they are."""
    first = block_at(t, parent).first_child
    block_at(t, block).parent = parent
    block_at(t, block).previous_sibling = NO_BLOCK
    block_at(t, block).next_sibling = first
    if first >= 0:
        block_at(t, first).previous_sibling = block
    block_at(t, parent).first_child = block


@kernel
def leave(t: int, block: int) -> None:
    """Take the block from its parent, if it has one. Priorities stay as they are."""
    record = block_at(t, block)
    parent, before, after = record.parent, record.previous_sibling, record.next_sibling
    if parent < 0:
        return
    if before >= 0:
        block_at(t, before).next_sibling = after
    else:
        block_at(t, parent).first_child = after
    if after >= 0:
        block_at(t, after).previous_sibling = before
    record.parent = record.previous_sibling = record.next_sibling = NO_BLOCK


@kernel
def spread(t: int, block: int) -> None:
    """Work out the effective priority of the block and of all below it, after a change of its own or of its parent.

    Candidates stay where they are until `settle`.
    """
    if not _update(t, block):
        return
    node, child = block, block_at(t, block).first_child
    while True:
        while child >= 0 and not _update(t, child):
            child = block_at(t, child).next_sibling
        if child >= 0:
            node, child = child, block_at(t, child).first_child
        elif node == block:
            return
        else:
            node, child = block_at(t, node).parent, block_at(t, node).next_sibling


@kernel
def _update(t: int, block: int) -> bool:
    """Whether the block's effective priority is another now."""
    record = block_at(t, block)
    effective = record.own
    if record.parent >= 0:
        effective = min(effective, block_at(t, record.parent).effective)
    if effective == record.effective:
        return False
    record.effective = effective
    note_change(t, block)
    return True


@kernel
def note_change(t: int, block: int) -> None:
    """Have the block looked at by `settle`. Nothing happens when it is held, or noted already."""
    if is_candidate(t, block) and not block_at(t, block).is_changed:
        block_at(t, block).is_changed = 1
        write_change(t, state_at(t, 0).num_changed, block)
        state_at(t, 0).num_changed += 1


@kernel
def write_change(t: int, place: int, block: int) -> None:
    """Put the block, as it was used last, into a row of the work space."""
    change_at(t, place).block = block
    change_at(t, place).use = block_at(t, block).use


@kernel
def settle(t: int) -> None:
    """Move every candidate with a changed priority to its bucket, in order of last use."""
    num_changed = take_changes(t)
    for i in range(num_changed):
        fetch_block(t, change_at(t, min(i + BLOCKS_AHEAD, num_changed - 1)).block)
        fetch_neighbours(t, change_at(t, min(i + BLOCKS_AHEAD // 2, num_changed - 1)).block)
        block = change_at(t, i).block
        block_at(t, block).is_changed = 0
        if block_at(t, block).bucket != bucket_of(t, block):
            withdraw(t, block)
            place_moved(t, block)


@kernel
def take_changes(t: int) -> int:
    """How many blocks were noted since the last call; they stand in `changes`, in order of last use,
    each still marked as changed.
    """
    num_changed = state_at(t, 0).num_changed
    state_at(t, 0).num_changed = 0
    sort_by_use(t, num_changed)
    return num_changed


@kernel
def sort_by_use(t: int, n: int) -> None:
    """Sort the first `n` rows of `changes` by merging the runs that are in order already; the rows after the first
    `num_blocks` are the other half of the work space. Equal uses go in the order of the blocks' numbers.
    """
    half = header_at(t, 0).num_blocks
    for turn in range(_MOST_TURNS):
        source = turn % 2 * half
        if _merge_runs(t, source, half - source, n) <= 1:
            break
    if source:
        for i in range(n):
            _copy(t, source + i, i)


@kernel
def _merge_runs(t: int, source: int, target: int, n: int) -> int:
    """Merge each two neighbouring runs of `source` into `target`; how many runs there were. One run is left alone."""
    num_runs = 0
    start = 0
    while start < n:
        middle = _end_of_run(t, source, start, n)
        if start == 0 and middle == n:
            return 1
        end = middle if middle == n else _end_of_run(t, source, middle, n)
        _merge(t, source, target, start, middle, end)
        start = end
        num_runs += 2
    return num_runs


@kernel
def _end_of_run(t: int, source: int, start: int, n: int) -> int:
    end = start + 1
    while end < n and _is_before(t, source + end - 1, source + end):
        end += 1
    return end


@kernel
def _merge(t: int, source: int, target: int, start: int, middle: int, end: int) -> None:
    left, right = start, middle
    for i in range(start, end):
        if right == end or (left < middle and _is_before(t, source + left, source + right)):
            _copy(t, source + left, target + i)
            left += 1
        else:
            _copy(t, source + right, target + i)
            right += 1


@kernel
def _copy(t: int, source: int, target: int) -> None:
    change_at(t, target).use, change_at(t, target).block = change_at(t, source).use, change_at(t, source).block


@kernel
def _is_before(t: int, one: int, two: int) -> bool:
    use_one, use_two = change_at(t, one).use, change_at(t, two).use
    return use_one < use_two or (use_one == use_two and change_at(t, one).block < change_at(t, two).block)
