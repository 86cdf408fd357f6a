"""Whether a worker has room for one more request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from appliance.router.router import WorkerStatus

PREFILL_STEPS = 2
"""An engine is given as many tokens to compute as it takes in two steps: the one it is at, and one to go on with while
the box hears that the first has ended. What waits beyond that waits in the box, where it can still be overtaken, sent
elsewhere, and found cheaper than it was."""

BACKGROUND_SHARE = 0.5
"""How much of an engine's seats and prefill work of less than ordinary importance may fill."""


class Lack(StrEnum):
    """What there is not enough of. Prompts are computed soon; the other two are held until answers end."""

    PREFILL = "prefill"
    SEATS = "seats"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one engine takes at once: requests, tokens in one step, KV blocks (`None`: not known)."""

    seats: int
    step_tokens: int
    kv_blocks: int | None


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a worker has: the router's count of it, and what the engine and the box know beside that.

    `kv_usage` is the share of KV blocks that running requests held after the engine's last step, `unread_blocks` those
    of prompts it has not read yet, `answer_blocks` those that answers are said to need.
    """

    status: WorkerStatus
    kv_usage: float | None = None
    unread_blocks: int = 0
    answer_blocks: int = 0

    def held_blocks(self, kv_blocks: int) -> int:
        """At most so many blocks are held by running requests, or soon will be.

        Two upper bounds, the lower one counts: all prompts, though they may share blocks; and what the engine said
        last, with what it has not read yet.
        """
        held = self.status.context_blocks
        if self.kv_usage is not None:
            held = min(held, round(self.kv_usage * kv_blocks) + self.unread_blocks)
        return held + self.answer_blocks


def find_lack(
    occupancy: Occupancy, capacity: Capacity, *, block_tokens: int, needs_blocks: int, is_background: bool
) -> Lack | None:
    """What a worker lacks for a request that `needs_blocks` for prompt and answer; `None`: there is room.

    There is room while fewer requests run than the engine has seats, while fewer tokens wait to be computed than
    `PREFILL_STEPS` steps take, and while the blocks fit. A request that finds the worker empty always has room, so that
    whatever is too large for the rule is served all the same. Background work finds only `BACKGROUND_SHARE` of seats
    and prefill.
    """
    status, share = occupancy.status, BACKGROUND_SHARE if is_background else 1.0
    if status.running == 0:
        return None
    if status.running >= capacity.seats * share:
        return Lack.SEATS
    if capacity.kv_blocks is not None and occupancy.held_blocks(capacity.kv_blocks) + needs_blocks > capacity.kv_blocks:
        return Lack.MEMORY
    if status.prefill_blocks * block_tokens >= PREFILL_STEPS * capacity.step_tokens * share:
        return Lack.PREFILL
    return None
