"""What a pool does to a batch of blocks in one call: a dozen small steps of numpy's cost more than most batches.

A part is a row for each of its blocks' numbers, for the tokens they start with, and for their serial numbers, which
are written here. A plan is a row each for the tokens from which on it gives something else, and for what it gives from
there on: priorities, durations and rules; it may be empty.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache import claim_kernels, take_kernels, use_kernels
from appliance.cache.checks import DONE
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import NO_BLOCK, NO_SESSION, Rows
from appliance.engine.retention.sessions import ANONYMOUS

EMPTY: Final = 0
"""As far as the core knows the block holds nothing that anybody could find."""
FILLED: Final = 1
PENDING: Final = 2
"""The block can be found, and the core has yet to be told. Its request holds it."""

NOT_KNOWN: Final = -2
"""Not done, and nothing changed: the core does not know what all of these blocks hold."""

BLOCKS, FIRST_TOKENS, SERIALS = range(3)
STARTS, PLAN_ROWS = 0, 4
VICTIM, VICTIM_FIRST_TOKEN, VICTIM_ROWS = 0, 7, 8
"""Rows of victims: those of `Victims`, then the tokens they start with."""

States = NDArray[np.uint8]


class Known(NamedTuple):
    """Of each block what is known of it, how often it was filled, where in its prompt it starts, and how often it was
    hit since it was filled."""

    states: States
    serials: Numbers
    first_tokens: Numbers
    hits: Numbers


@entry
def take(header: Rows, states: States, first_tokens: Numbers, victims: Numbers, now_ms: int) -> bool:
    """False, and nothing changed, when there are fewer candidates than `victims` has room for."""
    claim_kernels.expire(header, now_ms)
    if not take_kernels.take(header, victims):
        return False
    for i in range(victims.shape[1]):
        block = victims[VICTIM, i]
        states[block] = EMPTY
        victims[VICTIM_FIRST_TOKEN, i] = first_tokens[block]
    return True


@entry
def fill(
    header: Rows, known: Known, part: Numbers, parent: int, block_tokens: int, slot: int, plan: Numbers, now_ms: int
) -> int:
    """Blocks that can be found from now on, the first behind `parent`, owned and claimed by the slot's session; what is
    filled already stays as it is. Returns DONE, or the place of the block that the core refused.

    `block_tokens` lie between a block and the next behind it; 0 where blocks are found whatever is before them.
    """
    claim_kernels.expire(header, now_ms)
    blocks, parents = np.empty(part.shape[1], np.int64), np.empty(part.shape[1], np.int64)
    num = 0
    for i in range(part.shape[1]):
        block = part[BLOCKS, i]
        if known.states[block] == FILLED:
            continue
        blocks[num], parents[num] = block, _parent(part, i, block_tokens)
        if i == 0 and parent >= 0 and known.states[parent] == FILLED:
            parents[num] = parent
        num += 1
        known.states[block] = FILLED
        known.serials[block] += 1
        known.first_tokens[block] = part[FIRST_TOKENS, i]
        known.hits[block] = 0
    owner = NO_SESSION if slot == ANONYMOUS else slot
    refused = use_kernels.fill(header, blocks[:num], parents[:num], owner)
    return _claim(header, known, part, slot, plan) if refused == DONE else refused


@entry
def hit(header: Rows, known: Known, part: Numbers, block_tokens: int, slot: int, plan: Numbers, now_ms: int) -> int:
    """A use of filled blocks, which come behind each other from now on: where blocks have copies, a prompt may find
    one copy of a block and another's successor. Arguments and result as of `fill`; or NOT_KNOWN."""
    parents = np.empty(part.shape[1], np.int64)
    for i in range(part.shape[1]):
        if known.states[part[BLOCKS, i]] != FILLED:
            return NOT_KNOWN
        parents[i] = _parent(part, i, block_tokens)
    for i in range(part.shape[1]):
        known.hits[part[BLOCKS, i]] += 1
    claim_kernels.expire(header, now_ms)
    owner = NO_SESSION if slot == ANONYMOUS else slot
    refused = use_kernels.hit(header, part[BLOCKS], owner, owner != NO_SESSION)
    if refused == DONE:
        refused = use_kernels.adopt(header, part[BLOCKS], parents)
    return _claim(header, known, part, slot, plan) if refused == DONE else refused


@entry
def claim_again(header: Rows, known: Known, part: Numbers, slot: int, plan: Numbers, now_ms: int) -> int:
    """Claims those that hold what they held when their serial numbers were these, and leaves only them in `part`, in
    front; how many. Below 0: as `fill`."""
    claim_kernels.expire(header, now_ms)
    num = 0
    for i in range(part.shape[1]):
        block = part[BLOCKS, i]
        if known.states[block] == FILLED and known.serials[block] == part[SERIALS, i]:
            part[:, num] = part[:, i]
            num += 1
    refused = _claim_all(header, part[BLOCKS][:num], part[FIRST_TOKENS][:num], slot, plan)
    return num if refused == DONE else -2 - refused


@kernel
def _parent(part: Numbers, i: int, block_tokens: int) -> int:
    """The block before the one at this place, if there is no gap between them."""
    is_next = i > 0 and block_tokens > 0 and part[FIRST_TOKENS, i] - part[FIRST_TOKENS, i - 1] == block_tokens
    return part[BLOCKS, i - 1] if is_next else NO_BLOCK


@kernel
def _claim(header: Rows, known: Known, part: Numbers, slot: int, plan: Numbers) -> int:
    for i in range(part.shape[1]):
        part[SERIALS, i] = known.serials[part[BLOCKS, i]]
    return _claim_all(header, part[BLOCKS], part[FIRST_TOKENS], slot, plan)


@kernel
def _claim_all(header: Rows, blocks: Numbers, first_tokens: Numbers, slot: int, plan: Numbers) -> int:
    """What the plan gives the blocks that start with these tokens. Nothing happens without a plan."""
    if not plan.shape[1]:
        return DONE
    worths = np.empty((3, len(blocks)), np.int64)
    chosen = 0
    for i in range(len(blocks)):
        if first_tokens[i] < plan[STARTS, chosen]:
            chosen = 0
        while chosen + 1 < plan.shape[1] and plan[STARTS, chosen + 1] <= first_tokens[i]:
            chosen += 1
        worths[0, i], worths[1, i], worths[2, i] = plan[1, chosen], plan[2, chosen], plan[3, chosen]
    return claim_kernels.claim(header, slot, blocks, worths[0], worths[1], worths[2])
