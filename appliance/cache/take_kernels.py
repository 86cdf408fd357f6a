"""Blocks that lose their content: victims, and those dropped."""

from __future__ import annotations

from appliance.cache.buckets import first_list, is_candidate, is_stale, place_first, place_used, set_owner, withdraw
from appliance.cache.checks import DONE, outside
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import FREE, NO_SESSION, Rows
from appliance.cache.prefetch import fetch_claims
from appliance.cache.prefixes import leave, settle, spread
from appliance.cache.rows import address_of, block_at, bucket_at, list_at, state_at
from appliance.cache.worth import clear_claims, rule_of


@entry
def take(header: Rows, victims: Numbers) -> bool:
    """False, and nothing changed, when there are fewer candidates than `victims` has room for."""
    t = address_of(header)
    if state_at(t, 0).num_candidates < victims.shape[1]:
        return False
    bucket = FREE
    for i in range(victims.shape[1]):
        while not bucket_at(t, bucket).num_blocks:
            bucket += 1
        block = _next_victim(t, bucket)
        _report(t, block, victims[:, i])
        fetch_claims(t, block_at(t, block).next)
        withdraw(t, block)
        if block_at(t, block).has_content:
            state_at(t, 0).evictions += 1
            _empty(t, block)
        else:
            state_at(t, 0).free_takes += 1
        block_at(t, block).holders = 1
    return True


@kernel
def _next_victim(t: int, bucket: int) -> int:
    """The first block of the bucket, unless it has a child there: a block goes after its children."""
    which = first_list(t, bucket)
    while True:
        block = list_at(t, which).first
        child = block_at(t, block).first_child
        while child >= 0 and block_at(t, child).bucket != bucket:
            child = block_at(t, child).next_sibling
        if child < 0:
            return block
        if _is_of_other_session(t, block, child):
            _hand_over(t, block, child)
            which = first_list(t, bucket)
        else:
            withdraw(t, child)
            place_first(t, child, bucket, which)


@kernel
def _is_of_other_session(t: int, block: int, child: int) -> bool:
    """Whether the child, in the same bucket, is in another list because of its session."""
    if not state_at(t, 0).is_forecast or is_stale(t, child):
        return False
    return is_stale(t, block) or block_at(t, block).owner != block_at(t, child).owner


@kernel
def _hand_over(t: int, block: int, child: int) -> None:
    """Make the block the child's session's, and as recently used."""
    withdraw(t, block)
    record, heir = block_at(t, block), block_at(t, child)
    set_owner(t, block, heir.owner)
    record.use = max(record.use, heir.use)
    record.last_use_ms = max(record.last_use_ms, heir.last_use_ms)
    place_used(t, block)


@kernel
def _report(t: int, block: int, victim: Numbers) -> None:
    record = block_at(t, block)
    victim[0] = block
    victim[1] = record.has_content
    victim[2] = record.owner
    victim[3] = record.effective
    victim[4] = rule_of(t, block)
    victim[5] = state_at(t, 0).now_ms - record.last_use_ms
    victim[6] = record.waiters > 0


@entry
def drop(header: Rows, blocks: Numbers) -> int:
    t = address_of(header)
    refused = outside(t, blocks)
    if refused != DONE:
        return refused
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        if block_at(t, block).has_content:
            was_candidate = is_candidate(t, block)
            if was_candidate:
                withdraw(t, block)
            _empty(t, block)
            if was_candidate:
                place_used(t, block)
    return DONE


@kernel
def _empty(t: int, block: int) -> None:
    """Remove the content of a block that is in no list. Its children lose their parent."""
    record = block_at(t, block)
    clear_claims(t, block)
    leave(t, block)
    while record.first_child >= 0:
        child = record.first_child
        leave(t, child)
        spread(t, child)
        state_at(t, 0).orphans += 1
    set_owner(t, block, NO_SESSION)
    record.has_content, record.use, record.last_use_ms = 0, 0, 0
    spread(t, block)
    settle(t)
