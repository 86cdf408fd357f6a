"""The eviction core of one block pool, told in the pool's block numbers: what each block holds, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from appliance.cache.errors import IntegrityError
from appliance.cache.eviction import NO_BLOCK, NO_SESSION, EvictionCore, Order
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.worths import Worths

Clock = Callable[[], int]

EMPTY: Final = 0
"""As far as the core knows the block holds nothing that anybody could find."""
FILLED: Final = 1
PENDING: Final = 2
"""The block can be found, and the core has yet to be told. Its request holds it."""


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class BlockTable:
    """`states` says what is known of each block, one byte each: a Python loop reads it as fast as numpy does.

    Every batch is in prefix order.
    """

    def __init__(self, num_blocks: int, num_sessions: int, clock: Clock = monotonic_ms) -> None:
        self.core = EvictionCore(num_blocks, num_sessions=num_sessions, order=Order.LRU)
        self.states = bytearray(num_blocks)
        self.serials = np.zeros(num_blocks, np.int64)
        """How often each block was filled: whoever remembers a number knows by it whether the content is the same."""
        self.first_tokens = np.zeros(num_blocks, np.int64)
        """Where in its prompt each block starts; means nothing for one that is EMPTY."""
        self.num_late_fills = 0
        self._states = np.frombuffer(self.states, np.uint8)
        self._clock = clock
        self.now_ms = clock()
        """The time of the scheduler's step: to ask the clock and to look for what is due at each call costs more than
        the call."""

    def __len__(self) -> int:
        return len(self.states)

    def tick(self) -> None:
        """A step, or a call from outside, begins."""
        self.now_ms = self._clock()

    def take(self, n: int) -> NDArray[np.int64]:
        """The next `n` to go, held and empty now: a row for each field of `Victims`."""
        victims = self.core.take_columns(n, self.now_ms)
        if n == 1:
            self.states[victims.item(0)] = EMPTY
        else:
            self._states[victims[0]] = EMPTY
        return victims

    def hold(self, blocks: Numbers) -> None:
        self.core.hold(blocks, self.now_ms)

    def release(self, blocks: Numbers) -> None:
        self.core.release(blocks, self.now_ms)

    def fill(self, blocks: Numbers, parents: Numbers, first_tokens: Numbers, owner: int) -> None:
        """Tell the core of blocks that can be found from now on. Parents are filled, or among the blocks before.

        What is filled already stays as it is.
        """
        states = self._states[blocks]
        if FILLED in states.tobytes():
            is_new = states != FILLED
            blocks, parents, first_tokens = blocks[is_new], parents[is_new], first_tokens[is_new]
        self._states[blocks] = FILLED
        self.serials[blocks] += 1
        self.first_tokens[blocks] = first_tokens
        self.core.fill(blocks, parents, owner, self.now_ms)

    def is_filled(self, block: int) -> bool:
        return block != NO_BLOCK and self.states[block] == FILLED

    def are_known(self, blocks: Numbers) -> bool:
        """Whether the core knows of all that these blocks, which can be found, hold."""
        return self._states[blocks].tobytes().count(FILLED) == len(blocks)

    def is_any_pending(self, blocks: Numbers) -> bool:
        return PENDING in self._states[blocks].tobytes()

    def fill_unknown(self, blocks: Numbers) -> None:
        """Tell the core of those among the blocks that can be found and that nobody has filled: they belong to none."""
        unknown = blocks[self._states[blocks] == EMPTY]
        if len(unknown):
            self.num_late_fills += len(unknown)
            self.fill(unknown, np.full(len(unknown), NO_BLOCK), np.zeros(len(unknown), np.int64), NO_SESSION)

    def hit(self, blocks: Numbers, parents: Numbers, owner: int) -> None:
        """A use of filled blocks, by nobody in particular for NO_SESSION. They follow their parents from now on: where
        blocks have copies, a prompt may find one copy of a block and another's successor."""
        self.core.hit(blocks, None if owner == NO_SESSION else owner, self.now_ms)
        self.core.adopt(blocks, parents)

    def claim(self, session: int, blocks: Numbers, worths: Worths) -> None:
        self.core.claim(session, blocks, worths.priorities, worths.durations_ms, self.now_ms, worths.rules)

    def drop(self, blocks: Numbers) -> None:
        """They can be found no longer."""
        self._states[blocks] = EMPTY
        self.core.drop(blocks)

    def are_filled(self, blocks: Numbers, serials: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which still hold what they held when their serial numbers were these."""
        still: NDArray[np.bool_] = (self._states[blocks] == FILLED) & (self.serials[blocks] == serials)
        return still

    def reprioritise(self, priorities: Numbers, durations_ms: Numbers) -> None:
        self.core.reprioritise(priorities, durations_ms, self.now_ms)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Slow: looks at every block."""
        self.core.check_integrity()
        for block, state in enumerate(self.states):
            facts = self.core.block(block)
            if facts.has_content != (state == FILLED):
                raise IntegrityError(f"block {block} is in state {state}, and its content is {facts.has_content}")
            if state == PENDING and not facts.holders:
                raise IntegrityError(f"block {block} waits to be filled and nobody holds it")
