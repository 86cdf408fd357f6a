"""Blocks filled, hit, held, released and awaited. Every batch is worked on from its end."""

from __future__ import annotations

from appliance.cache.buckets import bucket_of, is_candidate, make_stale, place_moved, place_used, set_owner, withdraw
from appliance.cache.checks import DONE, has_content, is_block, outside
from appliance.cache.kernel import Numbers, entry, kernel
from appliance.cache.layout import NO_BLOCK, Rows
from appliance.cache.prefixes import join, leave, settle, spread
from appliance.cache.rows import address_of, block_at, session_at, state_at
from appliance.cache.worth import restart_timer


@entry
def start_prompt(header: Rows, session: int) -> None:
    t = address_of(header)
    session_at(t, session).prompt_use = state_at(t, 0).uses + 1
    if state_at(t, 0).is_forecast:
        make_stale(t, session)


@entry
def fill(header: Rows, blocks: Numbers, parents: Numbers, session: int) -> int:
    t = address_of(header)
    refused = _fill_in(t, blocks, parents)
    if refused != DONE:
        return refused
    for i in range(len(blocks) - 1, -1, -1):
        set_owner(t, blocks[i], session)
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
        is_empty = is_block(t, block) and block_at(t, block).holders > 0 and not block_at(t, block).has_content
        if not is_empty or not (parent == NO_BLOCK or has_content(t, parent)):
            for filled in blocks[:i]:
                block_at(t, filled).has_content = 0
            return i
        block_at(t, block).has_content = 1
    return DONE


@entry
def hit(header: Rows, blocks: Numbers, session: int, changes_owner: bool) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not has_content(t, blocks[i]):
            return i
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        _stamp(t, block)
        if changes_owner:
            set_owner(t, block, session)
        if is_candidate(t, block):
            withdraw(t, block)
            place_used(t, block)
    state_at(t, 0).hits += len(blocks)
    return DONE


@entry
def adopt(header: Rows, blocks: Numbers, parents: Numbers) -> int:
    t = address_of(header)
    for i in range(len(blocks)):
        if not has_content(t, blocks[i]) or not (parents[i] == NO_BLOCK or has_content(t, parents[i])):
            return i
    for i in range(len(blocks) - 1, -1, -1):
        if parents[i] not in (NO_BLOCK, block_at(t, blocks[i]).parent):
            leave(t, blocks[i])
            join(t, blocks[i], parents[i])
    for block in blocks:
        spread(t, block)
    settle(t)
    return DONE


@entry
def hold(header: Rows, blocks: Numbers) -> int:
    t = address_of(header)
    refused = outside(t, blocks)
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
        if not is_block(t, blocks[i]) or not block_at(t, blocks[i]).holders:
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
        if not is_block(t, blocks[i]) or block_at(t, blocks[i]).waiters + change < 0:
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


@kernel
def _stamp(t: int, block: int) -> None:
    state = state_at(t, 0)
    state.uses += 1
    block_at(t, block).use = state.uses
    block_at(t, block).last_use_ms = state.now_ms
