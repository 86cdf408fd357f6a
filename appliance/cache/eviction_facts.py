"""What the eviction core is told and what it tells: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Order(StrEnum):
    """Who goes first among blocks of one effective priority."""

    LRU = "lru"
    FORECAST = "forecast"
    """The session that is least worth keeping, as `set_keep` has said last."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of all blocks claims above the default priority may hold."""

    session: float = 0.5
    """One session's."""
    total: float = 0.9
    """All together."""


class Victims(NamedTuple):
    """Blocks in the order in which they went; where `had_content` is false only `blocks` means anything."""

    blocks: NDArray[np.int64]
    had_content: NDArray[np.bool_]
    sessions: NDArray[np.int64]
    """The owners: who used the block last, or NO_SESSION."""
    priorities: NDArray[np.int64]
    """The effective ones."""
    rules: NDArray[np.int64]
    """Of the claim that gave the block its own priority, or NO_RULE."""
    ages_ms: NDArray[np.int64]
    """Since the last use."""
    awaited: NDArray[np.bool_]
    """Whether a waiting request wanted it."""


@dataclass(frozen=True, slots=True)
class Claim:
    session: int | None
    """`None` for the claim in which older ones of several sessions are merged."""
    priority: int
    duration_ms: int | None
    """From the last use; `None` without end."""
    rule: int


@dataclass(frozen=True, slots=True)
class BlockFacts:
    has_content: bool
    holders: int
    waiters: int
    owner: int | None
    parent: int | None
    last_use_ms: int
    own_priority: int
    effective_priority: int
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class EvictionStats:
    """Counted since the core was made."""

    fills: int
    hits: int
    evictions: int
    """Blocks taken that had content."""
    free_takes: int
    """Blocks taken that had none."""
    expired_claims: int
    session_share_falls: int
    """Claims that fell because their session held more than its share."""
    total_share_falls: int
    """Blocks whose claims fell because all together held more than theirs."""
    shared_claims: int
    """Claims merged into a block's shared one, for want of slots or because their session was forgotten."""
    widened_claims: int
    """Merges after which a block is worth more than the highest of its claims, for a time."""
    orphans: int
    """Blocks that lost their parent."""
