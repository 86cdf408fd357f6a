"""The calls of `EvictionCore`, compiled. Each checks all it was given before it changes anything.

A call that was refused returns the position of the first item it cannot take, otherwise `DONE`.
"""

from __future__ import annotations

from appliance.cache.buckets import (
    bucket_of,
    first_list,
    forget_lowest,
    is_candidate,
    is_stale,
    make_stale,
    place_first,
    place_moved,
    place_used,
    withdraw,
)
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import (
    DEFAULT_PRIORITY,
    FOREVER,
    FREE,
    MAX_PRIORITY,
    NO_BLOCK,
    NO_SESSION,
    NOWHERE,
    NUM_BUCKETS,
    UNKNOWN,
    WHEEL_LEVELS,
    WHEEL_SLOTS,
    Rows,
)
from appliance.cache.prefixes import join, leave, note_change, settle, sort_by_use, spread, take_changes
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
from appliance.cache.shares import keep_to_all_shares, keep_to_session_share, keep_to_total_share
from appliance.cache.slots import (
    block_of,
    clear_claims,
    let_due_fall,
    let_fall,
    reckon,
    relist_claims,
    remove_claims,
    renew_claimed,
    restart_timer,
    rule_of,
    set_claim,
    share,
    work_out_own,
)
from appliance.cache.timers import next_timer

DONE = -1


@entry
def fill(header: Rows, blocks: Numbers, parents: Numbers, session: int) -> int:
    t = address_of(header)
    refused = _fill_in(t, blocks, parents)
    if refused != DONE:
        return refused
    for i in range(len(blocks) - 1, -1, -1):
        block_at(t, blocks[i]).owner = session
        if parents[i] >= 0:
            join(t, blocks[i], parents[i])
        _stamp(t, blocks[i])
    for block in blocks:
        spread(t, block)
    state_at(t, 0).fills += len(blocks)
    return DONE


@kernel
def _fill_in(t: int, blocks: Numbers, parents: Numbers) -> int:
    """Mark the blocks as having content, if all are held and have none, and all parents have."""
    for i in range(len(blocks)):
        block, parent = blocks[i], parents[i]
        is_empty = _is_block(t, block) and block_at(t, block).holders > 0 and not block_at(t, block).has_content
        if not is_empty or not (parent == NO_BLOCK or _has_content(t, parent)):
            for filled in blocks[:i]:
                block_at(t, filled).has_content = 0
            return i
        block_at(t, block).has_content = 1
    return DONE


@entry
def hit(header: Rows, blocks: Numbers, session: int, changes_owner: bool) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not _has_content(t, blocks[i]):
            return i
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        _stamp(t, block)
        if changes_owner:
            block_at(t, block).owner = session
        if is_candidate(t, block):
            withdraw(t, block)
            place_used(t, block)
    state_at(t, 0).hits += len(blocks)
    return DONE


@entry
def claim(
    header: Rows, session: int, blocks: Numbers, priorities: Numbers, durations_ms: Numbers, rules: Numbers
) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not _has_content(t, blocks[i]) or not 0 <= priorities[i] <= MAX_PRIORITY or durations_ms[i] < 0:
            return i
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
def hold(header: Rows, blocks: Numbers) -> int:
    t = address_of(header)
    refused = _outside(t, blocks)
    if refused != DONE:
        return refused
    for block in blocks:
        block_at(t, block).holders += 1
        if is_candidate(t, block):
            withdraw(t, block)
    return DONE


@entry
def release(header: Rows, blocks: Numbers) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not _is_block(t, blocks[i]) or not block_at(t, blocks[i]).holders:
            for block in blocks[:i]:
                block_at(t, block).holders += 1
            return i
        block_at(t, blocks[i]).holders -= 1
    for block in blocks:
        block_at(t, block).holders += 1
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        block_at(t, block).holders -= 1
        if block_at(t, block).has_content:
            _stamp(t, block)
        if not block_at(t, block).holders:
            place_used(t, block)
            restart_timer(t, block)
    return DONE


@entry
def add_waiters(header: Rows, blocks: Numbers, change: int) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not _is_block(t, blocks[i]) or block_at(t, blocks[i]).waiters + change < 0:
            for block in blocks[:i]:
                block_at(t, block).waiters -= change
            return i
        block_at(t, blocks[i]).waiters += change
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        if is_candidate(t, block) and block_at(t, block).bucket != bucket_of(t, block):
            withdraw(t, block)
            place_moved(t, block)
    return DONE


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
            return block  # type: ignore[no-any-return]  # a row's field
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
    record.owner = heir.owner
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
    record.has_content, record.owner, record.use, record.last_use_ms = 0, NO_SESSION, 0, 0
    spread(t, block)
    settle(t)


@entry
def drop(header: Rows, blocks: Numbers) -> int:
    t = address_of(header)
    refused = _outside(t, blocks)
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
    return state_at(t, 0).expired_claims - before  # type: ignore[no-any-return]  # a row's field


@entry
def start_prompt(header: Rows, session: int) -> None:
    t = address_of(header)
    session_at(t, session).prompt_use = state_at(t, 0).uses + 1
    if state_at(t, 0).is_forecast:
        make_stale(t, session)


@entry
def finish(header: Rows, session: int, priority: int) -> None:
    t = address_of(header)
    for which in range(2 * session, 2 * session + 2):
        slot = claims_of_at(t, which).first
        while slot >= 0:
            after = claim_at(t, slot).next
            let_fall(t, slot, priority)
            reckon(t, block_of(t, slot))
            slot = after
    settle(t)


@entry
def forget(header: Rows, session: int) -> None:
    t = address_of(header)
    for which in range(2 * session, 2 * session + 2):
        while claims_of_at(t, which).first >= 0:
            slot = claims_of_at(t, which).first
            share(t, slot)
            reckon(t, block_of(t, slot))
    settle(t)
    for block in range(header_at(t, 0).num_blocks):
        if block_at(t, block).owner == session:
            block_at(t, block).owner = NO_SESSION
            note_change(t, block)
    session_at(t, session).keep, session_at(t, session).prompt_use = 0.0, 0
    forget_lowest(t)
    for i in range(take_changes(t)):
        if state_at(t, 0).is_forecast:
            withdraw(t, change_at(t, i).block)
            place_moved(t, change_at(t, i).block)


@entry
def keep_shares(header: Rows) -> None:
    t = address_of(header)
    keep_to_all_shares(t)
    settle(t)


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
def rebuild(header: Rows) -> None:
    t = address_of(header)
    _rebuild(t)


@kernel
def _rebuild(t: int) -> None:
    num_blocks = header_at(t, 0).num_blocks
    _clear_lists(t)
    for block in range(num_blocks):
        _clear_links(t, block)
        change_at(t, block).block = block
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
        session_at(t, session).num_above = 0
    num_sessions = header_at(t, 0).num_sessions
    for which in range(NUM_BUCKETS * (2 + num_sessions + 1)):
        list_at(t, which).first, list_at(t, which).last = -1, -1
    for which in range(2 * num_sessions):
        claims_of_at(t, which).first, claims_of_at(t, which).last = -1, -1
    claimed_ends_at(t, 0).first, claimed_ends_at(t, 0).last = -1, -1
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


@kernel
def _stamp(t: int, block: int) -> None:
    state = state_at(t, 0)
    state.uses += 1
    block_at(t, block).use = state.uses
    block_at(t, block).last_use_ms = state.now_ms


@kernel
def _is_block(t: int, block: int) -> bool:
    return 0 <= block < header_at(t, 0).num_blocks


@kernel
def _has_content(t: int, block: int) -> bool:
    return _is_block(t, block) and block_at(t, block).has_content != 0


@kernel
def _outside(t: int, blocks: Numbers) -> int:
    for i in range(len(blocks)):
        if not _is_block(t, blocks[i]):
            return i
    return DONE
