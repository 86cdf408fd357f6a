"""A block's claims: a few slots of named ones, each of one session, and one slot that is nobody's.

When the named slots are used up, the weakest claim is merged into nobody's. As long as merged claims dominate each
other (are worth at least as much at every age) the highest live claim stays exact; two that cross become one with the
higher priority and the longer time, and are counted as widened. Nobody's claim counts in no session's share and is
withdrawn by no session's end.
"""

from __future__ import annotations

from appliance.cache.kernel import inlined, kernel
from appliance.cache.layout import DEFAULT_PRIORITY, FOREVER, MAX_DURATION_MS, NO_SESSION, NOBODY, NUM_LEVELS
from appliance.cache.links import linked
from appliance.cache.rows import (
    block_at,
    claim_at,
    claims_of_at,
    header_at,
    session_at,
    state_at,
)

append_claim, _, unlink_claim = linked(claim_at, claims_of_at)


@inlined
def level_of(priority: int) -> int:
    return max(priority - DEFAULT_PRIORITY, 0)


@inlined
def list_of_claims(session: int, level: int) -> int:
    return session * NUM_LEVELS + level


@inlined
def slots_of(t: int, block: int) -> tuple[int, int]:
    """The first named slot of the block, and nobody's, which comes after the named ones."""
    per_block = header_at(t, 0).claims_per_block
    return block * per_block, block * per_block + per_block - 1


@inlined
def block_of(t: int, slot: int) -> int:
    return slot // header_at(t, 0).claims_per_block


@kernel
def set_claim(t: int, block: int, session: int, priority: int, duration_ms: int, rule: int) -> None:
    """Make this the session's claim on the block, the newest of all it has made."""
    slot = _slot_for(t, block, session)
    if claim_at(t, slot).session == NO_SESSION:
        claim_at(t, slot).session = session
        block_at(t, block).num_claims += 1
    else:
        unlist(t, slot)
    claim_at(t, slot).priority = priority
    claim_at(t, slot).duration_ms = FOREVER if priority == DEFAULT_PRIORITY else duration_ms
    claim_at(t, slot).rule = rule
    enlist(t, slot)
    _fall_if_due(t, block, slot)


@kernel
def _slot_for(t: int, block: int, session: int) -> int:
    """The session's slot, else a free one, else the weakest, emptied."""
    first, nobodys = slots_of(t, block)
    free, weakest = -1, first
    for slot in range(first, nobodys):
        holder = claim_at(t, slot).session
        if holder == session:
            return slot
        if holder == NO_SESSION:
            if free < 0:
                free = slot
        elif _strength(t, slot) < _strength(t, weakest):
            weakest = slot
    if free < 0:
        share(t, weakest)
        return weakest
    return free


@kernel
def _strength(t: int, slot: int) -> int:
    claim = claim_at(t, slot)
    return (claim.priority << 32) + _length_ms(claim.duration_ms)


@kernel
def _length_ms(duration_ms: int) -> int:
    return MAX_DURATION_MS + 1 if duration_ms == FOREVER else duration_ms


@kernel
def share(t: int, slot: int) -> None:
    """Make a named claim nobody's; its slot is free then. The block's own priority is not worked out anew."""
    block = block_of(t, slot)
    nobodys = slots_of(t, block)[1]
    unlist(t, slot)
    state_at(t, 0).shared_claims += 1
    if claim_at(t, nobodys).session == NO_SESSION:
        _copy(t, slot, nobodys)
        claim_at(t, nobodys).session = NOBODY
    else:
        _merge(t, slot, nobodys)
        block_at(t, block).num_claims -= 1
    claim_at(t, slot).session = NO_SESSION


@kernel
def _copy(t: int, slot: int, target: int) -> None:
    claim_at(t, target).priority = claim_at(t, slot).priority
    claim_at(t, target).duration_ms = claim_at(t, slot).duration_ms
    claim_at(t, target).rule = claim_at(t, slot).rule


@kernel
def _merge(t: int, slot: int, target: int) -> None:
    """Make the target the lowest claim that dominates both."""
    if _dominates(t, target, slot):
        return
    if _dominates(t, slot, target):
        _copy(t, slot, target)
        return
    state_at(t, 0).widened_claims += 1
    one, two = _length_ms(claim_at(t, slot).duration_ms), _length_ms(claim_at(t, target).duration_ms)
    if claim_at(t, slot).priority > claim_at(t, target).priority:
        _copy(t, slot, target)
    # A claim below the default rises to it at its end: there the shorter one is worth more.
    length_ms = max(one, two) if claim_at(t, target).priority > DEFAULT_PRIORITY else min(one, two)
    claim_at(t, target).duration_ms = FOREVER if length_ms > MAX_DURATION_MS else length_ms


@kernel
def _dominates(t: int, one: int, two: int) -> bool:
    """Whether the first is worth at least what the second is at every age."""
    high, low = claim_at(t, one).priority, claim_at(t, two).priority
    if high >= DEFAULT_PRIORITY and low <= DEFAULT_PRIORITY:
        return True
    if (high > DEFAULT_PRIORITY) != (low > DEFAULT_PRIORITY) or high < low:
        return False
    length_one, length_two = _length_ms(claim_at(t, one).duration_ms), _length_ms(claim_at(t, two).duration_ms)
    return length_one >= length_two if high > DEFAULT_PRIORITY else length_one <= length_two


@kernel
def enlist(t: int, slot: int) -> None:
    """Put a named claim, which is in no list, at the end of its session's list of this level."""
    session, level = claim_at(t, slot).session, level_of(claim_at(t, slot).priority)
    append_claim(t, slot, list_of_claims(session, level))
    if level:
        session_at(t, session).num_above += 1


@kernel
def unlist(t: int, slot: int) -> None:
    unlink_claim(t, slot)
    if claim_at(t, slot).priority > DEFAULT_PRIORITY:
        session_at(t, claim_at(t, slot).session).num_above -= 1


@kernel
def let_fall(t: int, slot: int, priority: int) -> None:
    """Lower a claim to `priority`, not above the default, without end; named or nobody's."""
    is_listed_above = claim_at(t, slot).session >= 0 and claim_at(t, slot).priority > DEFAULT_PRIORITY
    if is_listed_above:
        unlist(t, slot)
    claim_at(t, slot).priority, claim_at(t, slot).duration_ms = priority, FOREVER
    if is_listed_above:
        enlist(t, slot)


@kernel
def let_due_fall(t: int, block: int) -> None:
    """Let all claims fall whose time has passed. A held block's time does not pass."""
    first, nobodys = slots_of(t, block)
    for slot in range(first, nobodys + 1):
        if claim_at(t, slot).session != NO_SESSION:
            _fall_if_due(t, block, slot)


@kernel
def _fall_if_due(t: int, block: int, slot: int) -> None:
    record, duration_ms = block_at(t, block), claim_at(t, slot).duration_ms
    if duration_ms != FOREVER and not record.holders and record.last_use_ms + duration_ms <= state_at(t, 0).now_ms:
        let_fall(t, slot, DEFAULT_PRIORITY)
        state_at(t, 0).expired_claims += 1


@kernel
def remove_claims(t: int, block: int) -> None:
    """Empty the slots, with no regard to lists."""
    first, nobodys = slots_of(t, block)
    for slot in range(first, nobodys + 1):
        claim_at(t, slot).session = NO_SESSION
    block_at(t, block).num_claims = 0
