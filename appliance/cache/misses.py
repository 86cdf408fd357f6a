"""Tokens that were computed, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.cache.explain import unexplained_tokens
from appliance.cache.ledger import Reason, TokenRange


@dataclass(slots=True)
class Misses:
    """Since the start. `unexplained` are those called evicted of which nobody has told that they were."""

    tokens: Counter[Reason] = field(default_factory=Counter)
    unexplained: int = 0

    def add(self, ranges: Sequence[TokenRange]) -> None:
        for one in ranges:
            if one.reason is not None:
                self.tokens[one.reason] += one.tokens
        self.unexplained += unexplained_tokens(ranges)
