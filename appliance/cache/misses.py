"""Tokens that were computed, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.cache.explain import unexplained_tokens
from appliance.cache.ledger import Blame, Emptied, Reason, TokenRange

THRASH_SECONDS: Final = 60.0


@dataclass(slots=True)
class Misses:
    """Since the start. `unexplained` are those called evicted of which nobody has told that they were; `thrashed` those
    that had to make room less than `THRASH_SECONDS` before they were asked for again."""

    tokens: Counter[Reason] = field(default_factory=Counter)
    unexplained: int = 0
    thrashed: int = 0

    def add(self, ranges: Sequence[TokenRange], arrived_at: float) -> None:
        """Of one prompt, which came at that time: seconds since 1970."""
        for one in ranges:
            if one.reason is not None:
                self.tokens[one.reason] += one.tokens
            if one.blame is not None and _made_room(one.reason, one.blame):
                self.thrashed += one.tokens if arrived_at - one.blame.at < THRASH_SECONDS else 0
        self.unexplained += unexplained_tokens(ranges)


def _made_room(reason: Reason | None, blame: Blame) -> bool:
    """And was not lost with all the rest."""
    return reason in (Reason.EVICTED, Reason.EXPIRED) and blame.rule not in set(Emptied)
