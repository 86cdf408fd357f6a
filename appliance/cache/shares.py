"""How much of the capacity claims above the default may hold; beyond, those made longest ago fall to it."""

from __future__ import annotations

from appliance.cache.kernel import kernel
from appliance.cache.layout import DEFAULT_PRIORITY, NO_SESSION
from appliance.cache.rows import claim_at, claimed_ends_at, claims_of_at, header_at, session_at, state_at
from appliance.cache.slots import block_of, let_fall, slots_of
from appliance.cache.worth import reckon


@kernel
def keep_to_session_share(t: int, session: int) -> None:
    while session_at(t, session).num_above > state_at(t, 0).session_limit:
        slot = claims_of_at(t, 2 * session).first
        let_fall(t, slot, DEFAULT_PRIORITY)
        reckon(t, block_of(t, slot))
        state_at(t, 0).session_share_falls += 1


@kernel
def keep_to_total_share(t: int) -> None:
    while state_at(t, 0).num_claimed > state_at(t, 0).total_limit:
        block = claimed_ends_at(t, 0).first
        first, nobodys = slots_of(t, block)
        for slot in range(first, nobodys + 1):
            if claim_at(t, slot).session != NO_SESSION and claim_at(t, slot).priority > DEFAULT_PRIORITY:
                let_fall(t, slot, DEFAULT_PRIORITY)
        reckon(t, block)
        state_at(t, 0).total_share_falls += 1


@kernel
def keep_to_all_shares(t: int) -> None:
    for session in range(header_at(t, 0).num_sessions):
        keep_to_session_share(t, session)
    keep_to_total_share(t)
