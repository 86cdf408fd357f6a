"""What is remembered of a request: its session, its plan, and the blocks it has filled or hit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from appliance.cache.layout import NO_BLOCK
from appliance.engine.retention.arrays import Numbers


@dataclass(slots=True)
class Chain:
    """A request's blocks in one KV-cache group. In a linked one a block is found only behind the one before it.

    `parts` are blocks that the table knows of, as `new_part` makes them. `expected` are those that were filled one by
    one and that the table has yet to be told of: of the indices from `expected_index` on, behind `expected_parent`.
    """

    block_tokens: int
    is_linked: bool
    parts: list[Numbers] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    expected_index: int = 0
    expected_parent: int = NO_BLOCK

    def joined(self) -> Numbers | None:
        """All parts as one; they are one from then on."""
        if len(self.parts) > 1:
            self.parts = [np.concatenate(self.parts, axis=1)]
        return self.parts[0] if self.parts else None


@dataclass(slots=True)
class TaggedRequest:
    """`slot` is its session's; with NO_PLAN it claims nothing."""

    request_id: str
    slot: int
    plan: Numbers
    chains: dict[int, Chain] = field(default_factory=dict)
