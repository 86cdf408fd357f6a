"""The eviction core of one block pool, told in the pool's block numbers: what each block holds, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from appliance.cache.checks import DONE
from appliance.cache.errors import IntegrityError, InvalidBlock, NotEnoughBlocks
from appliance.cache.eviction import NO_BLOCK, EvictionCore, Order
from appliance.engine.retention import block_kernels
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.block_kernels import EMPTY, FILLED, NOT_KNOWN, PENDING, VICTIM_ROWS, Known
from appliance.engine.retention.sessions import ANONYMOUS
from appliance.engine.retention.worths import NO_PLAN

Clock = Callable[[], int]


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def new_part(blocks: Sequence[int] | Numbers, first_tokens: Numbers) -> Numbers:
    """Blocks of a request in prefix order: a row each for their numbers, the tokens they start with, and their serial
    numbers, which the table writes there."""
    part = np.empty((3, len(blocks)), np.int64)
    part[0], part[1] = blocks, first_tokens
    return part


@cache
def warm_up() -> None:
    """Run every kernel once in this process, as `cache/warming.py` does with those of the core."""
    table = BlockTable(8, 2)
    part = new_part(table.take(4)[0], np.arange(0, 64, 16))
    plan = np.array([[0], [50], [1000], [0]])
    table.fill(part, NO_BLOCK, 16, ANONYMOUS, plan)
    table.hit(part, 16, ANONYMOUS, plan)
    table.claim(part, ANONYMOUS, plan)


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
        self.hits = np.zeros(num_blocks, np.int64)
        """How often each block was hit since it was filled; means nothing for one that is EMPTY."""
        self.num_late_fills = 0
        self.num_let_go = 0
        """How often a block was released, or its content dropped: while it stands, room only shrinks."""
        self._header = self.core.header
        self._states = np.frombuffer(self.states, np.uint8)
        self._known = Known(self._states, self.serials, self.first_tokens, self.hits)
        self._clock = clock
        self.now_ms = clock()
        """The time of the scheduler's step: to ask the clock and to look for what is due at each call costs more than
        the call."""

    def __len__(self) -> int:
        return len(self.states)

    def tick(self) -> None:
        """A step, or a call from outside, begins."""
        self.now_ms = self._clock()

    def take(self, n: int) -> Numbers:
        """The next `n` to go, held and empty now: a row for each field of `Victims`, and one for the tokens they
        started with. Raises `NotEnoughBlocks`."""
        victims = np.empty((VICTIM_ROWS, n), np.int64)
        if not block_kernels.take(self._header, self._states, self.first_tokens, victims, self.now_ms):
            raise NotEnoughBlocks(f"{n} blocks asked for, {self.core.num_candidates} are candidates")
        return victims

    def hold(self, blocks: Numbers) -> None:
        self.core.hold(blocks, self.now_ms)

    def release(self, blocks: Numbers) -> None:
        self.num_let_go += len(blocks)
        self.core.release(blocks, self.now_ms)

    def fill(self, part: Numbers, parent: int, block_tokens: int, slot: int, plan: Numbers) -> None:
        """Tell the core of blocks that can be found from now on, the first behind `parent` if that is filled, each
        other behind the one before it, if that starts `block_tokens` before it. The slot's session claims them. What
        is filled already stays as it is.
        """
        refused = block_kernels.fill(self._header, self._known, part, parent, block_tokens, slot, plan, self.now_ms)
        self._check(refused, part, "fill")

    def hit(self, part: Numbers, block_tokens: int, slot: int, plan: Numbers) -> bool:
        """A use of blocks, which follow each other as in `fill` from now on. False, and nothing happened, when the core
        does not know what all of them hold."""
        refused = block_kernels.hit(self._header, self._known, part, block_tokens, slot, plan, self.now_ms)
        if refused == NOT_KNOWN:
            return False
        self._check(refused, part, "hit")
        return True

    def claim(self, part: Numbers, slot: int, plan: Numbers) -> Numbers:
        """Those that still hold what they held when their serial numbers were these; claimed by the slot's session."""
        num = block_kernels.claim_again(self._header, self._known, part, slot, plan, self.now_ms)
        self._check(DONE if num >= 0 else -2 - num, part, "claim")
        return np.ascontiguousarray(part[:, :num])

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
            self.fill(new_part(unknown, np.zeros_like(unknown)), NO_BLOCK, 0, ANONYMOUS, NO_PLAN)

    def drop(self, blocks: Numbers) -> None:
        """They can be found no longer."""
        self.num_let_go += len(blocks)
        self._states[blocks] = EMPTY
        self.core.drop(blocks)

    def are_filled(self, part: Numbers) -> NDArray[np.bool_]:
        """Which still hold what they held when their serial numbers were these."""
        blocks, _, serials = part
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

    def _check(self, refused: int, part: Numbers, call: str) -> None:
        if refused != DONE:
            raise InvalidBlock(f"{call}: the core refused the block at place {refused} of {part.tolist()}")
