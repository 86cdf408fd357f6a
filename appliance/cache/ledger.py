"""Where each token of a prompt came from, and why those that were computed could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """A tier that was read from, or the engine itself."""

    GPU = "gpu"
    HOST = "host"
    DISK = "disk"
    REMOTE = "remote"
    RECOMPUTED = "recomputed"


class Reason(StrEnum):
    """Why tokens were computed. Each range that was has exactly one."""

    FIRST_REQUEST = "first_request"
    """Nobody had asked for them before: a new session, or what a turn adds to the last one."""
    DIVERGED = "diverged"
    """The session's last prompt had other tokens in front of them."""
    EVICTED = "evicted"
    EXPIRED = "expired"
    """Evicted after the claim that kept them had run out."""
    ROUTED_ELSEWHERE = "routed_elsewhere"
    """Another worker has them."""
    BELOW_BLOCK_BOUNDARY = "below_block_boundary"
    """They fill no block, or are the last token, which is always computed."""
    NOT_CACHEABLE = "not_cacheable"
    PREEMPTED = "preempted"
    TIER_FAILED = "tier_failed"
    """A tier had them and could not give them."""


class Emptied(StrEnum):
    """What takes all blocks at once; in the place of a rule."""

    WORKER_ENDED = "worker ended"
    FLUSHED = "flushed"
    BOX_ENDED = "box ended"


@dataclass(frozen=True, slots=True)
class Blame:
    """Why blocks are not there any more: who needed the room, when (seconds since 1970), and what decided: a rule's
    name, or `Emptied`.

    `None`: it has no name, or nobody knows.
    """

    session: str | None
    request: str | None
    rule: str | None
    priority: int
    at: float
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first token that differs from the session's last prompt. `place` says what it belongs to: `system`,
    `tools[2] Read`, `messages[3]`. The texts are the tokens around it, before and now; `None` where none is kept.

    `against` is the request whose prompt this one is compared with: the session's last, or, where a conversation
    begins, the nearest of the others. `rule` is the stabiliser's that would have kept the two alike, on or off.
    """

    token: int
    place: str | None
    before: str | None = None
    now: str | None = None
    against: str | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class TokenRange:
    """Tokens `start` … `end` (exclusive) of a prompt. `reason` is set where they were computed, and only there."""

    start: int
    end: int
    source: Source
    reason: Reason | None = None
    blame: Blame | None = None
    divergence: Divergence | None = None
    worker: int | None = None
    """Who had them, where they were routed elsewhere or all of its cache is gone."""

    @property
    def tokens(self) -> int:
        return self.end - self.start
