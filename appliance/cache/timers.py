"""Timers of blocks on a hierarchical wheel: 4 levels of 256 slots, 1 ms to 49 days, constant time each.

A timer that was set too early is harmless: whoever handles it looks at the facts and sets it anew. So a hit, which only
moves the moment further away, touches no timer.
"""

from __future__ import annotations

from appliance.cache.kernel import kernel
from appliance.cache.layout import WHEEL_LEVELS, WHEEL_SLOTS
from appliance.cache.links import linked
from appliance.cache.prefetch import fetch_block, fetch_claims
from appliance.cache.rows import block_at, level_at, slot_at, state_at, timer_at

append, _, unlink = linked(timer_at, slot_at)


@kernel
def set_timer(t: int, block: int, at_ms: int) -> None:
    """Have the block handed out once the wheel has come to `at_ms`, or earlier if it has an earlier timer already."""
    if block_at(t, block).timer_level:
        if timer_at(t, block).at_ms <= at_ms:
            return
        _remove(t, block)
    timer_at(t, block).at_ms = at_ms
    _insert(t, block)


@kernel
def next_timer(t: int) -> int:
    """Turn the wheel on to now, or to the first block whose timer runs out on the way: that block, without a timer
    now, or -1 when the wheel stands at now.
    """
    state = state_at(t, 0)
    while True:
        slot = state.wheel_ms % WHEEL_SLOTS
        block = slot_at(t, slot).first
        if block >= 0:
            _remove(t, block)
            fetch_block(t, slot_at(t, slot).first)
            fetch_claims(t, slot_at(t, slot).first)
            return block
        if state.wheel_ms >= state.now_ms:
            return -1
        _turn(t)


@kernel
def _turn(t: int) -> None:
    """One ms on, or over all the ms for which nothing is set."""
    state = state_at(t, 0)
    span = 1
    for level in range(WHEEL_LEVELS):
        if level_at(t, level).num_timers:
            break
        span *= WHEEL_SLOTS
    state.wheel_ms = min(state.now_ms, (state.wheel_ms // span + 1) * span)
    span = WHEEL_SLOTS
    for level in range(1, WHEEL_LEVELS):
        if state.wheel_ms % span:
            return
        _spill(t, level * WHEEL_SLOTS + state.wheel_ms // span % WHEEL_SLOTS)
        span *= WHEEL_SLOTS


@kernel
def _spill(t: int, slot: int) -> None:
    """Distribute a slot over the levels below it."""
    while slot_at(t, slot).first >= 0:
        block = slot_at(t, slot).first
        _remove(t, block)
        _insert(t, block)


@kernel
def _insert(t: int, block: int) -> None:
    at_ms = max(timer_at(t, block).at_ms, state_at(t, 0).wheel_ms)
    delay, level, span = at_ms - state_at(t, 0).wheel_ms, 0, 1
    while delay >= WHEEL_SLOTS and level < WHEEL_LEVELS - 1:
        delay //= WHEEL_SLOTS
        span *= WHEEL_SLOTS
        level += 1
    append(t, block, level * WHEEL_SLOTS + at_ms // span % WHEEL_SLOTS)
    level_at(t, level).num_timers += 1
    block_at(t, block).timer_level = level + 1


@kernel
def _remove(t: int, block: int) -> None:
    unlink(t, block)
    level_at(t, block_at(t, block).timer_level - 1).num_timers -= 1
    block_at(t, block).timer_level = 0
