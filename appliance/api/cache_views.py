"""What the tiers of the cache hold, as operators see it. `null` means unknown."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

DEFAULT_LISTED: Final = 50
MAX_LISTED: Final = 2048

TierName = Literal["gpu", "host", "disk"]


class TierView(Struct, frozen=True):
    """One worker's own blocks, or those of a tier that is all workers' (`worker` is null). `held` cannot go now;
    `bytes` is what all of them weigh. What is in a remote store nobody counts.
    `checked` are the blocks that a check under way has read."""

    tier: TierName | Literal["remote"]
    worker: int | None
    blocks: int | None
    used: int | None
    held: int | None
    bytes: int | None
    checked: int | None = None


class CacheView(Struct, frozen=True):
    block_tokens: int
    tiers: list[TierView]


class SessionCache(Struct, frozen=True):
    """A session's blocks in tokens, where it was the last to use them: `gpu_tokens` by worker. `prompt_tokens` is what
    it asked last, without the answer; computing again what of it is in neither takes `prefill_seconds`, by the workers'
    pace. `client` is the user agent. `claim_seconds`: until the next of its claims ends, by its own last use;
    `null` where none does."""

    session: str
    parent: str | None
    state: Literal["running", "tool_wait", "idle", "finished"]
    prompt_tokens: int
    gpu_tokens: dict[str, int]
    host_tokens: int
    turns: int | None = None
    client: str | None = None
    prefill_seconds: float | None = None
    claim_seconds: float | None = None

    @property
    def lacking_tokens(self) -> int:
        """At least so many of the prompt are nowhere: the host tier may hold copies of what GPUs hold."""
        held = max(max(self.gpu_tokens.values(), default=0), self.host_tokens)
        return max(self.prompt_tokens - held, 0)


class SessionCaches(Struct, frozen=True):
    """The session used last comes first. `total` are known."""

    sessions: list[SessionCache]
    total: int


class Verified(Struct, frozen=True):
    """`error` says what contradicts itself, or why nobody could look; `null`: all is sound. Of the disk every block was
    read; what was not what it should be is dropped."""

    tier: TierName
    worker: int | None
    error: str | None


class Verification(Struct, frozen=True):
    sound: bool
    checks: list[Verified]


class FlushRequest(Struct, frozen=True):
    """`worker` limits a flush of GPUs to one of them."""

    tier: TierName
    worker: int | None = None


class Flushed(Struct, frozen=True):
    """`blocks` were dropped. `error` says why nothing was."""

    tier: TierName
    worker: int | None
    blocks: int
    error: str | None = None


class Flushes(Struct, frozen=True):
    flushed: list[Flushed]


class ResizeRequest(Struct, frozen=True):
    """`bytes`: as large as the tier is to be."""

    tier: Literal["host", "disk"]
    bytes: int


class Resized(Struct, frozen=True):
    """The tier as it is now. `error` says what is not as it was asked for, and what would help."""

    tier: Literal["host", "disk"]
    blocks: int
    bytes: int
    error: str | None = None
