"""Tells the core whose each block is and what it is worth: when it fills, and again when it is hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from appliance.cache.errors import IntegrityError
from appliance.cache.layout import NO_BLOCK
from appliance.engine.retention.arrays import Numbers, numbers
from appliance.engine.retention.block_kernels import PENDING
from appliance.engine.retention.blocks import BlockTable, new_part
from appliance.engine.retention.tagged import Chain, TaggedRequest

MOST_EXPECTED: Final = 64
"""Blocks that fill one by one, as an answer grows, are told to the core in batches of at most so many: it is the call
that costs, not the block."""

Place = tuple[int, int]
"""A block's index in its request, and its number."""


class Tagger:
    """Of blocks that fill one by one the core learns when they are released, hit, or many."""

    def __init__(self, table: BlockTable) -> None:
        self._table = table
        self._expecting: dict[str, TaggedRequest] = {}

    def fill_run(self, tagged: TaggedRequest, chain: Chain, ids: list[int], start: int, parent: int) -> None:
        """Blocks of these numbers can be found from now on. They are the request's from index `start` on, behind the
        block `parent`."""
        self.settle_request(tagged)
        self._fill_run(tagged, chain, ids, start, parent)

    def fill_next(self, tagged: TaggedRequest, chain: Chain, block: int, index: int, parent: int) -> None:
        """As `fill_run` for one block in a linked chain, of which the core learns later."""
        if chain.expected and index != chain.expected_index + len(chain.expected):
            self.settle_request(tagged)
        if not chain.expected:
            chain.expected_index, chain.expected_parent = index, parent
            self._expecting[tagged.request_id] = tagged
        chain.expected.append(block)
        self._table.states[block] = PENDING
        if len(chain.expected) == MOST_EXPECTED:
            self.settle_request(tagged)

    def fill_scattered(self, tagged: TaggedRequest, chain: Chain, places: Sequence[Place]) -> None:
        """As `fill_run`, for blocks that are found whatever is before them."""
        if places:
            part = _part_of(chain, places)
            self._table.fill(part, NO_BLOCK, 0, tagged.slot, tagged.plan)
            chain.parts.append(part)

    def hit_run(self, tagged: TaggedRequest, chain: Chain, ids: list[int]) -> bool:
        """The request found these blocks, its first ones in a linked chain, and holds them. False, and nothing
        happened, when the core does not know of all of them: see `hit`."""
        return self._hit(tagged, chain, _run(chain, ids, 0))

    def hit(self, tagged: TaggedRequest, chain: Chain, places: Sequence[Place]) -> None:
        """The request found these blocks, and holds them."""
        if places:
            part = _part_of(chain, places)
            self.settle(part[0])
            self._hit(tagged, chain, part)

    def settle(self, blocks: Numbers) -> None:
        """See to it that the core knows of all that these blocks, which can be found, hold."""
        if self._table.are_known(blocks):
            return
        if self._table.is_any_pending(blocks):
            self.settle_all()
        self._table.fill_unknown(blocks)

    def settle_all(self) -> None:
        for tagged in list(self._expecting.values()):
            self.settle_request(tagged)

    def settle_request(self, tagged: TaggedRequest) -> None:
        if self._expecting.pop(tagged.request_id, None) is None:
            return
        for chain in tagged.chains.values():
            if chain.expected:
                ids, chain.expected = chain.expected, []
                self._fill_run(tagged, chain, ids, chain.expected_index, chain.expected_parent)

    def drop(self, blocks: Numbers) -> None:
        """They can be found no longer, whoever holds them."""
        self.settle_all()
        self._table.drop(blocks)

    def claim_again(self, tagged: TaggedRequest) -> int:
        """Claim what the request's plan, which has changed, gives its blocks, as far as they hold what they held. How
        many these are."""
        self.settle_request(tagged)
        return sum(self._claim_chain(tagged, chain) for chain in tagged.chains.values())

    def resident(self, tagged: TaggedRequest) -> Numbers:
        """The request's blocks that hold what they held."""
        self.settle_request(tagged)
        parts = [part for chain in tagged.chains.values() if (part := chain.joined()) is not None]
        still = [part[0][self._table.are_filled(part)] for part in parts]
        return np.concatenate(still) if still else numbers([])

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        chains = [chain for tagged in self._expecting.values() for chain in tagged.chains.values()]
        expected = sorted(block for chain in chains for block in chain.expected)
        pending = [block for block, state in enumerate(self._table.states) if state == PENDING]
        if expected != pending:
            raise IntegrityError(f"blocks {expected} are expected, {pending} are pending")

    def _fill_run(self, tagged: TaggedRequest, chain: Chain, ids: list[int], start: int, parent: int) -> None:
        part = _run(chain, ids, start)
        self._table.fill(part, parent, chain.block_tokens, tagged.slot, tagged.plan)
        chain.parts.append(part)

    def _hit(self, tagged: TaggedRequest, chain: Chain, part: Numbers) -> bool:
        block_tokens = chain.block_tokens if chain.is_linked else 0
        if not self._table.hit(part, block_tokens, tagged.slot, tagged.plan):
            return False
        chain.parts.append(part)
        return True

    def _claim_chain(self, tagged: TaggedRequest, chain: Chain) -> int:
        part = chain.joined()
        if part is None:
            return 0
        chain.parts = [self._table.claim(part, tagged.slot, tagged.plan)]
        return len(chain.parts[0][0])


def _run(chain: Chain, ids: list[int], start: int) -> Numbers:
    """Blocks of the indices from `start` on."""
    tokens = chain.block_tokens
    return new_part(ids, np.arange(start * tokens, (start + len(ids)) * tokens, tokens))


def _part_of(chain: Chain, places: Sequence[Place]) -> Numbers:
    indices, blocks = (numbers(column) for column in zip(*places, strict=True))
    return new_part(blocks, indices * chain.block_tokens)
