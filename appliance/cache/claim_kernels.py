"""Claims made, run out and withdrawn."""

from __future__ import annotations

from appliance.cache.buckets import forget_lowest, place_moved, set_owner, withdraw
from appliance.cache.checks import DONE, has_content
from appliance.cache.kernel import Numbers, entry
from appliance.cache.layout import FOREVER, MAX_PRIORITY, NO_SESSION, NUM_LEVELS, Rows
from appliance.cache.prefetch import fetch_claims
from appliance.cache.prefixes import note_change, settle, spread, take_changes
from appliance.cache.rows import (
    address_of,
    block_at,
    change_at,
    claim_at,
    claims_of_at,
    header_at,
    session_at,
    state_at,
)
from appliance.cache.shares import keep_to_all_shares, keep_to_session_share, keep_to_total_share
from appliance.cache.slots import block_of, let_due_fall, let_fall, list_of_claims, set_claim, share
from appliance.cache.timers import next_timer
from appliance.cache.worth import reckon, renew_claimed, restart_timer, work_out_own


@entry
def claim(
    header: Rows, session: int, blocks: Numbers, priorities: Numbers, durations_ms: Numbers, rules: Numbers
) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not has_content(t, blocks[i]) or not 0 <= priorities[i] <= MAX_PRIORITY or durations_ms[i] < 0:
            return i
        fetch_claims(t, blocks[i])
    for i in range(len(blocks) - 1, -1, -1):
        set_claim(t, blocks[i], session, priorities[i], durations_ms[i], rules[i])
        work_out_own(t, blocks[i])
        renew_claimed(t, blocks[i])
    for block in blocks:
        spread(t, block)
    keep_to_session_share(t, session)
    keep_to_total_share(t)
    settle(t)
    return DONE


@entry
def expire(header: Rows, now_ms: int) -> int:
    """How many claims fell."""
    t = address_of(header)
    before = state_at(t, 0).expired_claims
    state_at(t, 0).now_ms = max(state_at(t, 0).now_ms, now_ms)
    while True:
        block = next_timer(t)
        if block < 0:
            break
        record = block_at(t, block)
        if record.holders or record.duration_ms == FOREVER:
            continue
        if record.last_use_ms + record.duration_ms <= state_at(t, 0).now_ms:
            let_due_fall(t, block)
            reckon(t, block)
        else:
            restart_timer(t, block)
    settle(t)
    return state_at(t, 0).expired_claims - before


@entry
def finish(header: Rows, session: int, priority: int) -> None:
    t = address_of(header)
    for level in range(NUM_LEVELS):
        slot = claims_of_at(t, list_of_claims(session, level)).first
        while slot >= 0:
            after = claim_at(t, slot).next
            let_fall(t, slot, priority)
            reckon(t, block_of(t, slot))
            slot = after
    settle(t)


@entry
def forget(header: Rows, session: int) -> None:
    t = address_of(header)
    for level in range(NUM_LEVELS):
        which = list_of_claims(session, level)
        while claims_of_at(t, which).first >= 0:
            slot = claims_of_at(t, which).first
            share(t, slot)
            reckon(t, block_of(t, slot))
    settle(t)
    for block in range(header_at(t, 0).num_blocks):
        if block_at(t, block).owner == session:
            set_owner(t, block, NO_SESSION)
            note_change(t, block)
    session_at(t, session).keep, session_at(t, session).prompt_use = 0, 0
    forget_lowest(t)
    for i in range(take_changes(t)):
        block_at(t, change_at(t, i).block).is_changed = 0
        if state_at(t, 0).is_forecast:
            withdraw(t, change_at(t, i).block)
            place_moved(t, change_at(t, i).block)


@entry
def keep_shares(header: Rows) -> None:
    t = address_of(header)
    keep_to_all_shares(t)
    settle(t)
