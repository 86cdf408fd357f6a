"""Whether bringing blocks up from below the host tier is quicker than computing them, learned by doing it."""

from __future__ import annotations

from typing import Final

MEMORY: Final = 0.8
"""What one recall weighs after the next: the last five decide, for a disk is shared."""
LEAST_BLOCKS: Final = 8
"""Fewer tell of starting to read more than of reading."""
TRY_EVERY: Final = 16
"""So many that would not pay, and the next is tried all the same: what was slow may be quick again."""


class RecallPace:
    """Seconds a block. `skipped` counts prompts for which nothing was recalled, since it would not have paid."""

    def __init__(self) -> None:
        self.skipped = 0
        self._unpaid = 0
        self._blocks = self._seconds = 0.0

    @property
    def seconds_per_block(self) -> float | None:
        """`None` before the first recall has ended."""
        return self._seconds / self._blocks if self._blocks else None

    def pays(self, computing_seconds_per_block: float) -> bool:
        """For a prompt whose blocks take so long to compute. One in `TRY_EVERY` that do not pay is a trial."""
        known = self.seconds_per_block
        if known is None or known <= computing_seconds_per_block:
            return True
        self._unpaid += 1
        is_trial = self._unpaid % TRY_EVERY == 0
        self.skipped += not is_trial
        return is_trial

    def learn(self, blocks: int, seconds: float) -> None:
        """So many came up in that time."""
        if blocks >= LEAST_BLOCKS:
            self._blocks = MEMORY * self._blocks + blocks
            self._seconds = MEMORY * self._seconds + seconds
