"""What is remembered of a request: its session, its plan, and the blocks it has filled or hit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.layout import NO_BLOCK, NO_SESSION
from appliance.engine.retention.arrays import Numbers
from appliance.engine.retention.sessions import ANONYMOUS
from appliance.engine.retention.worths import GpuPlan


class Part(NamedTuple):
    """Blocks of a request that the table knows of, with the tokens they start with and their serial numbers then."""

    blocks: Numbers
    first_tokens: Numbers
    serials: NDArray[np.int64]


@dataclass(slots=True)
class Chain:
    """A request's blocks in one KV-cache group. In a linked one a block is found only behind the one before it.

    `expected` are blocks that were filled one by one and that the table has yet to be told of: those of the indices
    from `expected_index` on, behind the block `expected_parent`.
    """

    block_tokens: int
    is_linked: bool
    parts: list[Part] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    expected_index: int = 0
    expected_parent: int = NO_BLOCK

    def joined(self) -> Part | None:
        """All parts as one; they are one from then on."""
        if len(self.parts) > 1:
            self.parts = [Part(*(np.concatenate(column) for column in zip(*self.parts, strict=True)))]
        return self.parts[0] if self.parts else None


@dataclass(slots=True)
class TaggedRequest:
    """`slot` is its session's; without a plan it claims nothing."""

    request_id: str
    slot: int
    plan: GpuPlan | None
    chains: dict[int, Chain] = field(default_factory=dict)

    @property
    def owner(self) -> int:
        return NO_SESSION if self.slot == ANONYMOUS else self.slot
