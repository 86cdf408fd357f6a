"""Times between the tokens of answers, as they were handed on."""

from __future__ import annotations

import math
from array import array
from typing import Final

REMEMBERED: Final = 8192
LEAST_SECONDS: Final = 1e-4
GROWTH: Final = 1.05
BUCKETS: Final = 300
"""The last of them is for what is longer than 200 s."""
_LOG_GROWTH: Final = math.log(GROWTH)


class TokenGaps:
    """Of the last `REMEMBERED` tokens, each time to the nearest fortieth; constant memory, constant time a token."""

    def __init__(self) -> None:
        self._ring = array("H", bytes(2 * REMEMBERED))
        self._counts = [0] * BUCKETS
        self._added = 0

    def add(self, seconds: float, tokens: int) -> None:
        """So many tokens came together, `seconds` after the one before them: each took its share of that."""
        if tokens < 1:
            return
        each, bucket = seconds / tokens, 0
        if each > LEAST_SECONDS:
            bucket = min(int(math.log(each / LEAST_SECONDS) / _LOG_GROWTH) + 1, BUCKETS - 1)
        ring, counts, added = self._ring, self._counts, self._added
        for _ in range(min(tokens, REMEMBERED)):
            place = added % REMEMBERED
            if added >= REMEMBERED:
                counts[ring[place]] -= 1
            ring[place] = bucket
            counts[bucket] += 1
            added += 1
        self._added = added

    def quantile(self, share: float) -> float | None:
        """The least time, in seconds, that `share` (0 … 1) of the gaps stayed within; `None` without any."""
        total = min(self._added, REMEMBERED)
        if not total:
            return None
        left = max(math.ceil(share * total), 1)
        for bucket, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return LEAST_SECONDS * math.pow(GROWTH, bucket - 0.5)
        raise AssertionError("the counts add up to the total")
