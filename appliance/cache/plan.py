"""A retention plan: how long each token of a prompt, and what is being generated, is worth keeping."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.claims import DEFAULT_PRIORITY, NO_END
from appliance.cache.errors import IntegrityError
from appliance.cache.tier import Tier

MAX_DURATION_MS: Final = 2**31 - 1


class Directive(NamedTuple):
    """The tokens `token_start` up to, not including, `token_end` (`None`: and all that is generated) are worth
    `priority` 0 … 100, for `duration_seconds` after their last use (`None`: no end), in these tiers. `rule` is what
    decided: a rule's file and line, `default`, `mark`, `directive` or `pin`."""

    token_start: int
    token_end: int | None
    priority: int
    duration_seconds: float | None
    tiers: Tier
    rule: str


class BlockPlan(NamedTuple):
    """One element per block: `duration_seconds` is infinite where there is no end, `tiers` are bits of `Tier`,
    `directive` is a place in the plan's `directives`."""

    priority: NDArray[np.uint8]
    duration_seconds: NDArray[np.float64]
    tiers: NDArray[np.uint8]
    directive: NDArray[np.int32]

    @property
    def duration_ms(self) -> NDArray[np.int64]:
        """As the eviction core has them: whole, at least 1, and 0 where there is no end."""
        has_end = np.isfinite(self.duration_seconds)
        milliseconds = np.ceil(np.where(has_end, self.duration_seconds, 0.0) * 1000)
        return np.where(has_end, np.clip(milliseconds, 1, MAX_DURATION_MS), 0).astype(np.int64)

    def in_tier(self, tier: Tier) -> BlockPlan:
        """The same for one tier: worth nothing where the plan does not allow it."""
        is_allowed = (self.tiers & tier.value) != 0
        return self._replace(
            priority=np.where(is_allowed, self.priority, 0).astype(np.uint8),
            duration_seconds=np.where(is_allowed, self.duration_seconds, NO_END),
        )


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Directives without gaps from token 0 on; neither priority nor duration nor tiers ever rise. The last is for the
    tokens from `tokens` on, which are generated."""

    directives: tuple[Directive, ...]

    @property
    def tokens(self) -> int:
        """The length of the prompt."""
        return self.directives[-1].token_start

    @property
    def decode_retention_priority(self) -> int:
        return self.directives[-1].priority

    @property
    def decode_duration_seconds(self) -> float | None:
        return self.directives[-1].duration_seconds

    def at(self, token: int) -> Directive:
        return self.directives[bisect_right(self.directives, token, key=lambda each: each.token_start) - 1]

    def for_blocks(self, block_tokens: int, start: int = 0, stop: int | None = None) -> BlockPlan:
        """For the blocks `start` up to, not including, `stop`; `None`: up to the one with the prompt's last token.

        A block is worth what the most valuable of its tokens is, and that is its first.
        """
        stop = -(-self.tokens // block_tokens) if stop is None else stop
        return self.for_first_tokens(np.arange(start, stop, dtype=np.int64) * block_tokens)

    def for_first_tokens(self, first_tokens: NDArray[np.int64]) -> BlockPlan:
        """For the blocks that start with these tokens."""
        starts = np.array([each.token_start for each in self.directives])
        chosen = np.searchsorted(starts, first_tokens, side="right") - 1
        durations = [NO_END if each.duration_seconds is None else each.duration_seconds for each in self.directives]
        return BlockPlan(
            np.array([each.priority for each in self.directives], dtype=np.uint8)[chosen],
            np.array(durations, dtype=np.float64)[chosen],
            np.array([each.tiers.value for each in self.directives], dtype=np.uint8)[chosen],
            chosen.astype(np.int32),
        )

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        if (wrong := first_wrong(self.directives)) is not None:
            raise IntegrityError(wrong)


def first_wrong(directives: tuple[Directive, ...]) -> str | None:
    """One sentence about the first directive that no plan may hold."""
    before: Directive | None = None
    for number, one in enumerate(directives):
        wrong = _wrong_range(one, before) or _wrong_worth(one) or (before and _rise(before, one))
        if wrong:
            return f"directive {number} (tokens {one.token_start} to {_end(one)}) {wrong}"
        before = one
    if before is None or before.token_end is not None:
        return "a plan must end with a directive for what is generated"
    return None


def _wrong_range(one: Directive, before: Directive | None) -> str | None:
    expected = 0 if before is None else before.token_end
    if expected is None:
        return "stands behind the one for what is generated, which must be the last"
    if one.token_end is not None and one.token_end <= one.token_start:
        return f"is reversed or empty: its end must be above {one.token_start}"
    if one.token_start != expected:
        how = "overlaps the one before it" if one.token_start < expected else "leaves a gap before it"
        return f"{how}: it must start at {expected}"
    return None


def _wrong_worth(one: Directive) -> str | None:
    if not 0 <= one.priority <= 100:
        return f"has priority {one.priority}, not 0 to 100; the nearest is {min(max(one.priority, 0), 100)}"
    if one.duration_seconds is not None and not one.duration_seconds >= 0:
        return f"has a duration of {one.duration_seconds} seconds; the nearest is 0"
    return None


def _rise(before: Directive, one: Directive) -> str | None:
    if one.priority > before.priority:
        return f"has priority {one.priority}, above what is before it; the nearest is {before.priority}"
    if not _outlasts(before, one):
        return f"lasts longer than what is before it; the nearest is {before.duration_seconds} seconds"
    if one.tiers not in before.tiers:
        return "may be in a tier that what is before it may not be in"
    return None


def _outlasts(before: Directive, one: Directive) -> bool:
    """Whether it lasts at least as long; what is worth no more than the default asks for no time."""
    if one.priority <= DEFAULT_PRIORITY or before.duration_seconds is None:
        return True
    return one.duration_seconds is not None and one.duration_seconds <= before.duration_seconds


def _end(one: Directive) -> str:
    return "the end" if one.token_end is None else str(one.token_end)
