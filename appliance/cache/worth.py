"""What a block is worth by its own claims, and when that changes next."""

from __future__ import annotations

from appliance.cache.kernel import kernel
from appliance.cache.layout import DEFAULT_PRIORITY, FOREVER, NO_SESSION
from appliance.cache.links import linked
from appliance.cache.prefixes import spread
from appliance.cache.rows import block_at, claim_at, claimed_at, claimed_ends_at, state_at
from appliance.cache.slots import enlist, let_due_fall, level_of, remove_claims, slots_of, unlist
from appliance.cache.timers import set_timer

append_claimed, _, unlink_claimed = linked(claimed_at, claimed_ends_at)


@kernel
def reckon(t: int, block: int) -> None:
    """After a change of a block's claims: its own priority, and the effective one of all below it."""
    work_out_own(t, block)
    spread(t, block)


@kernel
def work_out_own(t: int, block: int) -> None:
    """Set the block's own priority, its shortest duration and timer, and whether it is in a list of claimed ones."""
    record = block_at(t, block)
    own, shortest_ms = -1, FOREVER
    if record.num_claims:
        first, nobodys = slots_of(t, block)
        for slot in range(first, nobodys + 1):
            claim = claim_at(t, slot)
            if claim.session == NO_SESSION:
                continue
            own = max(own, claim.priority)
            if claim.duration_ms != FOREVER and (shortest_ms == FOREVER or claim.duration_ms < shortest_ms):
                shortest_ms = claim.duration_ms
    own = DEFAULT_PRIORITY if own < 0 else own
    if (own > DEFAULT_PRIORITY) != (record.own > DEFAULT_PRIORITY):
        _count_claimed(t, block, own)
    record.own, record.duration_ms = own, shortest_ms
    start_timer(t, block)


@kernel
def start_timer(t: int, block: int) -> None:
    """See to it that the block is handed out when the first of its claims ends. Nothing happens without durations."""
    record = block_at(t, block)
    if record.duration_ms != FOREVER:
        set_timer(t, block, record.last_use_ms + record.duration_ms)


@kernel
def restart_timer(t: int, block: int) -> None:
    """As `start_timer` for a block that was just used: a timer it has is early enough."""
    if not block_at(t, block).timer_level:
        start_timer(t, block)


@kernel
def _count_claimed(t: int, block: int, own: int) -> None:
    if own > DEFAULT_PRIORITY:
        append_claimed(t, block, level_of(own))
        state_at(t, 0).num_claimed += 1
    else:
        unlink_claimed(t, block)
        state_at(t, 0).num_claimed -= 1


@kernel
def renew_claimed(t: int, block: int) -> None:
    """The block was just claimed: if it is in a list of claimed ones, it goes to the end of that of its level."""
    level = level_of(block_at(t, block).own)
    if level:
        unlink_claimed(t, block)
        append_claimed(t, block, level)


@kernel
def clear_claims(t: int, block: int) -> None:
    """Remove all claims; the block's own priority is the default then. Its timer, now without reason, may stay."""
    if block_at(t, block).num_claims:
        first, nobodys = slots_of(t, block)
        for slot in range(first, nobodys):
            if claim_at(t, slot).session != NO_SESSION:
                unlist(t, slot)
        remove_claims(t, block)
        work_out_own(t, block)


@kernel
def relist_claims(t: int, block: int) -> None:
    """Work out everything from the slots alone, for a block whose claims are in no list, and that is in none itself."""
    first, nobodys = slots_of(t, block)
    block_at(t, block).num_claims = 0
    for slot in range(first, nobodys + 1):
        if claim_at(t, slot).session != NO_SESSION:
            block_at(t, block).num_claims += 1
        if claim_at(t, slot).session >= 0:
            enlist(t, slot)
    let_due_fall(t, block)
    work_out_own(t, block)


@kernel
def rule_of(t: int, block: int) -> int:
    """The rule of the first claim that gives the block its own priority; -1 without claims."""
    if block_at(t, block).num_claims:
        first, nobodys = slots_of(t, block)
        for slot in range(first, nobodys + 1):
            if claim_at(t, slot).session != NO_SESSION and claim_at(t, slot).priority == block_at(t, block).own:
                return claim_at(t, slot).rule
    return -1
