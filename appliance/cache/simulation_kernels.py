"""What a simulated pool does for a whole prompt in one call: a call from Python costs more than most prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache import claim_kernels, take_kernels, use_kernels
from appliance.cache.eviction_facts import Victims
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import NO_BLOCK, NO_RULE, Rows
from appliance.cache.rows import address_of, state_at

ABSENT = -1
VICTIM_FIELDS = len(Victims._fields)

Places = NDArray[np.int32]
Regions = NDArray[np.uint8]


class Memory(NamedTuple):
    """Where each of the trace's blocks is, what is in each slot, and what each block was when it was filled."""

    slot_of: Places
    block_in: Places
    region_of: Regions


@entry
def find(
    header: Rows, slot_of: Places, blocks: Places, spare_slots: int, session: int, slots: Numbers
) -> tuple[int, int, int]:
    """Looks up a prompt and holds what is there of it. Writes the slot of each of its blocks, `ABSENT` for the missing.

    Gives the number of hits from the start on; how many of the blocks, from the start on, have room if others are
    evicted; and how many of these are missing.
    """
    hits = 0
    for place in range(len(blocks)):
        slots[place] = slot_of[blocks[place]]
        if slots[place] != ABSENT and hits == place:
            hits += 1
    use_kernels.start_prompt(header, session)
    _use(header, slots[:hits], session)
    num_candidates = state_at(address_of(header), 0).num_candidates
    stop = min(len(blocks), hits + spare_slots + num_candidates)
    stranded = np.empty(stop - hits, np.int64)
    num_stranded = 0
    for place in range(hits, stop):
        if slots[place] != ABSENT:
            # Behind a gap: it is not found, but it is there, and needs no second slot.
            stranded[num_stranded] = slots[place]
            num_stranded += 1
    _use(header, stranded[:num_stranded], session)
    return hits, stop, stop - hits - num_stranded


@kernel
def _use(header: Rows, slots: Numbers, session: int) -> None:
    if len(slots):
        use_kernels.hit(header, slots, session, True)
        use_kernels.hold(header, slots)


@entry
def evict(header: Rows, memory: Memory, count: int, evictions: Numbers, spare: Numbers) -> bool:
    """The next to go; their slots are put into `spare`. False, and nothing changed, when there are fewer candidates."""
    victims = np.empty((VICTIM_FIELDS, count), np.int64)
    if not take_kernels.take(header, victims):
        return False
    for place in range(count):
        slot = victims[0, place]
        block = memory.block_in[slot]
        evictions[memory.region_of[block]] += 1
        memory.slot_of[block] = ABSENT
        memory.block_in[slot] = ABSENT
        spare[place] = slot
    return True


@entry
def put(
    header: Rows, memory: Memory, blocks: Places, regions: Regions, slots: Numbers, spare: Numbers, session: int
) -> int:
    """Fills the missing ones of a prompt's blocks into as many spare slots, which are held, and writes these into
    `slots`. Returns like `fill`."""
    parents = np.empty(len(spare), np.int64)
    number = 0
    for place in range(len(slots)):
        if slots[place] != ABSENT:
            continue
        slot, block = spare[number], blocks[place]
        slots[place] = slot
        parents[number] = slots[place - 1] if place else NO_BLOCK
        memory.slot_of[block], memory.block_in[slot] = slot, block
        memory.region_of[block] = regions[place]
        number += 1
    return int(use_kernels.fill(header, spare, parents, session))


@entry
def find_runs(alike: Regions, regions: Regions, codes: Regions, ends: Numbers) -> int:
    """Writes what each run of equal neighbours is, and the place behind it; how many there are. Regions that `alike`
    calls the same are equal."""
    count = 0
    for place in range(len(regions)):
        code = alike[regions[place]]
        if count == 0 or code != codes[count - 1]:
            codes[count] = code
            count += 1
        ends[count - 1] = place + 1
    return count


@entry
def claim_runs(
    header: Rows, session: int, slots: Numbers, ends: Numbers, priorities: Numbers, durations_ms: Numbers
) -> int:
    """Claims slots of which each run gets the same. Returns like `claim`."""
    worths = np.empty((3, len(slots)), np.int64)
    run = 0
    for place in range(len(slots)):
        run += place == ends[run]
        worths[0, place], worths[1, place], worths[2, place] = priorities[run], durations_ms[run], NO_RULE
    return int(claim_kernels.claim(header, session, slots, worths[0], worths[1], worths[2]))
