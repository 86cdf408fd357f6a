"""All lists, links and counts made anew: from content, holders, waiters, owners, parents, uses and claims."""

from __future__ import annotations

from appliance.cache.buckets import count_owned, place_used
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import (
    DEFAULT_PRIORITY,
    FOREVER,
    NO_BLOCK,
    NO_SESSION,
    NOWHERE,
    NUM_BUCKETS,
    NUM_LEVELS,
    UNKNOWN,
    WHEEL_LEVELS,
    WHEEL_SLOTS,
    Rows,
)
from appliance.cache.prefixes import join, sort_by_use, spread, write_change
from appliance.cache.rows import (
    address_of,
    block_at,
    bucket_at,
    change_at,
    claim_at,
    claimed_ends_at,
    claims_of_at,
    header_at,
    level_at,
    list_at,
    session_at,
    slot_at,
    state_at,
)
from appliance.cache.shares import keep_to_all_shares
from appliance.cache.slots import remove_claims
from appliance.cache.worth import relist_claims


@entry
def reprioritise(header: Rows, priorities: Numbers, durations_ms: Numbers) -> None:
    t = address_of(header)
    for slot in range(header_at(t, 0).num_blocks * header_at(t, 0).claims_per_block):
        claim = claim_at(t, slot)
        if claim.session != NO_SESSION and 0 <= claim.rule < len(priorities):
            claim.priority, claim.duration_ms = priorities[claim.rule], durations_ms[claim.rule]
            if claim.priority == DEFAULT_PRIORITY:
                claim.duration_ms = FOREVER
    _rebuild(t)


@entry
def rebuild(header: Rows, now_ms: int) -> None:
    t = address_of(header)
    state_at(t, 0).now_ms = max(state_at(t, 0).now_ms, now_ms)
    _rebuild(t)


@kernel
def _rebuild(t: int) -> None:
    num_blocks = header_at(t, 0).num_blocks
    state_at(t, 0).wheel_ms = state_at(t, 0).now_ms
    _clear_lists(t)
    for block in range(num_blocks):
        _clear_links(t, block)
        count_owned(t, block_at(t, block).owner)
        write_change(t, block, block)
    sort_by_use(t, num_blocks)
    for i in range(num_blocks):
        block = change_at(t, i).block
        if block_at(t, block).parent >= 0:
            join(t, block, block_at(t, block).parent)
        relist_claims(t, block)
    for block in range(num_blocks):
        if block_at(t, block).parent < 0:
            spread(t, block)
    keep_to_all_shares(t)
    _place_all(t)


@kernel
def _clear_lists(t: int) -> None:
    state = state_at(t, 0)
    state.num_candidates, state.num_changed, state.num_claimed = 0, 0, 0
    for bucket in range(NUM_BUCKETS):
        bucket_at(t, bucket).num_blocks, bucket_at(t, bucket).lowest_session = 0, UNKNOWN
    for session in range(NO_SESSION, header_at(t, 0).num_sessions):
        session_at(t, session).num_above, session_at(t, session).num_owned = 0, 0
    num_sessions = header_at(t, 0).num_sessions
    for which in range(NUM_BUCKETS * (2 + num_sessions + 1)):
        list_at(t, which).first, list_at(t, which).last = -1, -1
    for which in range(num_sessions * NUM_LEVELS):
        claims_of_at(t, which).first, claims_of_at(t, which).last = -1, -1
    for level in range(NUM_LEVELS):
        claimed_ends_at(t, level).first, claimed_ends_at(t, level).last = -1, -1
    for slot in range(WHEEL_LEVELS * WHEEL_SLOTS):
        slot_at(t, slot).first, slot_at(t, slot).last = -1, -1
    for level in range(WHEEL_LEVELS):
        level_at(t, level).num_timers = 0


@kernel
def _clear_links(t: int, block: int) -> None:
    """Leave the block its facts only. What a call that was cut short left of a block without content goes."""
    record = block_at(t, block)
    record.bucket, record.is_changed, record.timer_level = NOWHERE, 0, 0
    record.first_child, record.previous_sibling, record.next_sibling = NO_BLOCK, NO_BLOCK, NO_BLOCK
    record.own, record.effective, record.duration_ms = DEFAULT_PRIORITY, NOWHERE, FOREVER
    if not record.has_content:
        record.owner, record.parent, record.use, record.last_use_ms = NO_SESSION, NO_BLOCK, 0, 0
        remove_claims(t, block)
    elif record.parent >= 0 and not block_at(t, record.parent).has_content:
        record.parent = NO_BLOCK


@kernel
def _place_all(t: int) -> None:
    """In the order in which they stand in `changes`: the free ones, each put first, from the end."""
    num_blocks = header_at(t, 0).num_blocks
    for i in range(num_blocks):
        free, used = change_at(t, num_blocks - 1 - i).block, change_at(t, i).block
        if not block_at(t, free).holders and not block_at(t, free).has_content:
            place_used(t, free)
        if not block_at(t, used).holders and block_at(t, used).has_content:
            place_used(t, used)
