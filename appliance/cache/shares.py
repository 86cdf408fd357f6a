"""How much of the capacity claims above the default may hold; beyond, the lowest fall to it, of these the oldest.

So who claims much for little takes nothing from who claims little for much.
"""

from __future__ import annotations

from appliance.cache.kernel import kernel
from appliance.cache.layout import DEFAULT_PRIORITY, NO_SESSION, NUM_LEVELS
from appliance.cache.rows import claim_at, claimed_ends_at, claims_of_at, header_at, session_at, state_at
from appliance.cache.slots import block_of, let_fall, list_of_claims, slots_of
from appliance.cache.worth import reckon


@kernel
def keep_to_session_share(t: int, session: int) -> None:
    for level in range(1, NUM_LEVELS):
        which = list_of_claims(session, level)
        while claims_of_at(t, which).first >= 0:
            if session_at(t, session).num_above <= state_at(t, 0).session_limit:
                return
            slot = claims_of_at(t, which).first
            let_fall(t, slot, DEFAULT_PRIORITY)
            reckon(t, block_of(t, slot))
            state_at(t, 0).session_share_falls += 1


@kernel
def keep_to_total_share(t: int) -> None:
    """The level of a block is that of its own priority when it was claimed last."""
    for level in range(1, NUM_LEVELS):
        while claimed_ends_at(t, level).first >= 0:
            if state_at(t, 0).num_claimed <= state_at(t, 0).total_limit:
                return
            _let_block_fall(t, claimed_ends_at(t, level).first)
            state_at(t, 0).total_share_falls += 1


@kernel
def _let_block_fall(t: int, block: int) -> None:
    """All its claims above the default."""
    first, nobodys = slots_of(t, block)
    for slot in range(first, nobodys + 1):
        if claim_at(t, slot).session != NO_SESSION and claim_at(t, slot).priority > DEFAULT_PRIORITY:
            let_fall(t, slot, DEFAULT_PRIORITY)
    reckon(t, block)


@kernel
def keep_to_all_shares(t: int) -> None:
    for session in range(header_at(t, 0).num_sessions):
        keep_to_session_share(t, session)
    keep_to_total_share(t)
