"""Tells the core whose each block is and what it is worth: when it fills, and again when it is hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from appliance.cache.errors import IntegrityError
from appliance.cache.layout import NO_BLOCK
from appliance.engine.retention.arrays import Numbers, numbers
from appliance.engine.retention.blocks import PENDING, BlockTable
from appliance.engine.retention.tagged import Chain, Part, TaggedRequest

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
        if len(ids) == 1:
            self._expect(tagged, chain, ids[0], start, parent)
            return
        self.settle_request(tagged)
        self._fill_run(tagged, chain, ids, start, parent)

    def fill_scattered(self, tagged: TaggedRequest, chain: Chain, places: Sequence[Place]) -> None:
        """As `fill_run`, for blocks that are found whatever is before them."""
        if places:
            blocks, parents, indices = _scattered(places)
            self._fill(tagged, chain, blocks, parents, indices)

    def hit_run(self, tagged: TaggedRequest, chain: Chain, blocks: Numbers) -> bool:
        """The request found these blocks, its first ones in a linked chain, and holds them. False, and nothing
        happened, when the core does not know of all of them: see `hit`."""
        if not self._table.are_known(blocks):
            return False
        self._hit(tagged, chain, blocks, _behind(NO_BLOCK, blocks), np.arange(len(blocks)))
        return True

    def hit(self, tagged: TaggedRequest, chain: Chain, places: Sequence[Place]) -> None:
        """The request found these blocks, and holds them."""
        if places:
            blocks, parents, indices = _linked(places) if chain.is_linked else _scattered(places)
            self.settle(blocks)
            self._hit(tagged, chain, blocks, parents, indices)

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
        still = [part.blocks[self._table.are_filled(part.blocks, part.serials)] for part in parts]
        return np.concatenate(still) if still else numbers([])

    def check_integrity(self) -> None:
        """Raises `IntegrityError`. Does not mutate."""
        chains = [chain for tagged in self._expecting.values() for chain in tagged.chains.values()]
        expected = sorted(block for chain in chains for block in chain.expected)
        pending = [block for block, state in enumerate(self._table.states) if state == PENDING]
        if expected != pending:
            raise IntegrityError(f"blocks {expected} are expected, {pending} are pending")

    def _expect(self, tagged: TaggedRequest, chain: Chain, block: int, index: int, parent: int) -> None:
        if chain.expected and index != chain.expected_index + len(chain.expected):
            self.settle_request(tagged)
        if not chain.expected:
            chain.expected_index, chain.expected_parent = index, parent
            self._expecting[tagged.request_id] = tagged
        chain.expected.append(block)
        self._table.states[block] = PENDING
        if len(chain.expected) == MOST_EXPECTED:
            self.settle_request(tagged)

    def _fill_run(self, tagged: TaggedRequest, chain: Chain, ids: list[int], start: int, parent: int) -> None:
        blocks = numbers(ids)
        behind = parent if self._table.is_filled(parent) else NO_BLOCK
        self._fill(tagged, chain, blocks, _behind(behind, blocks), np.arange(start, start + len(ids)))

    def _hit(self, tagged: TaggedRequest, chain: Chain, blocks: Numbers, parents: Numbers, indices: Numbers) -> None:
        self._table.hit(blocks, parents, tagged.owner)
        self._remember(tagged, chain, blocks, indices * chain.block_tokens)

    def _fill(self, tagged: TaggedRequest, chain: Chain, blocks: Numbers, parents: Numbers, indices: Numbers) -> None:
        first_tokens = indices * chain.block_tokens
        self._table.fill(blocks, parents, first_tokens, tagged.owner)
        self._remember(tagged, chain, blocks, first_tokens)

    def _remember(self, tagged: TaggedRequest, chain: Chain, blocks: Numbers, first_tokens: Numbers) -> None:
        chain.parts.append(Part(blocks, first_tokens, self._table.serials[blocks]))
        if tagged.plan is not None:
            self._table.claim(tagged.slot, blocks, tagged.plan.worths(first_tokens))

    def _claim_chain(self, tagged: TaggedRequest, chain: Chain) -> int:
        part = chain.joined()
        if part is None or tagged.plan is None:
            return 0
        still = self._table.are_filled(part.blocks, part.serials)
        blocks = part.blocks[still]
        self._table.claim(tagged.slot, blocks, tagged.plan.worths(part.first_tokens[still]))
        return len(blocks)


def _behind(parent: int, blocks: Numbers) -> Numbers:
    """The parents of blocks of which each comes behind the one before it."""
    parents = np.empty_like(blocks)
    parents[0], parents[1:] = parent, blocks[:-1]
    return parents


def _scattered(places: Sequence[Place]) -> tuple[Numbers, Numbers, Numbers]:
    """Blocks, their parents and their indices; none has a parent."""
    indices, blocks = (numbers(column) for column in zip(*places, strict=True))
    return blocks, np.full(len(blocks), NO_BLOCK), indices


def _linked(places: Sequence[Place]) -> tuple[Numbers, Numbers, Numbers]:
    """As `_scattered`; each is the parent of the next, where there is no gap between them."""
    blocks, parents, indices = _scattered(places)
    is_next = np.diff(indices) == 1
    parents[1:][is_next] = blocks[:-1][is_next]
    return blocks, parents, indices
