"""What the box remembers over restarts, as operators see it. Times are seconds since 1970; `null` is unknown."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from appliance.api.block_views import BlockMapView
from appliance.api.cache_views import SessionCaches
from appliance.api.prefix_views import Prefixes

DEFAULT_LISTED: Final = 100
MAX_LISTED: Final = 1000


class SessionEntry(Struct, frozen=True):
    """`state` is what it is doing now, where the box still knows it, else how it was left; `is_live` tells which.
    `prompt_tokens` is the length of its last prompt."""

    session: str
    parent: str | None
    client: str | None
    model: str
    state: str | None
    is_live: bool
    turns: int | None
    first_seen_at: float
    last_used_at: float
    prompt_tokens: int | None


class SessionList(Struct, frozen=True):
    """The one used last first."""

    sessions: list[SessionEntry]


class PastEviction(Struct, frozen=True):
    """A block that had to go. `boot` is the start of the box that told, `number` counts since then. What it was and
    whose, why it went, and who needed the room: as in `/box/v1/evictions`."""

    boot: float
    number: int
    at: float
    worker: int
    block_hash: str | None
    first_token: int
    region: str | None
    owner: str | None
    age_seconds: float
    priority: int
    rule: str | None
    awaited: bool
    cause_session: str | None
    cause_request: str | None


class EvictionHistory(Struct, frozen=True):
    """The newest first."""

    evictions: list[PastEviction]


class PastSessions(Struct, frozen=True):
    """Sessions as they were seen in the second `at`."""

    at: float
    sessions: SessionCaches


class PastBlocks(Struct, frozen=True):
    """A map as it was seen in the second `at`, in at most 2,048 cells; ages are whole seconds."""

    at: float
    blocks: BlockMapView


class PastPrefixes(Struct, frozen=True):
    """Prefixes as they were seen in the second `at`."""

    at: float
    prefixes: Prefixes


class Snapshot(Struct, frozen=True):
    """The whole box in the second `at`: `status` is what `/box/v1/status` said then."""

    at: float
    status: dict[str, Any]
