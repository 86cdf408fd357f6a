"""All that a screen shows of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from appliance.api.block_views import BlockMapView
    from appliance.api.cache_views import CacheView, SessionCaches
    from appliance.api.eviction_page import EvictedBlock
    from appliance.api.hint_views import HintView
    from appliance.api.policy_views import PolicyBody, PolicyVersionView
    from appliance.api.prefix_views import Prefixes
    from appliance.api.request_views import ActiveRequestView, RequestView
    from appliance.api.routing_views import Routing
    from appliance.api.views import BoxStatus
    from appliance.tui.event_feed import ToldEvent
    from appliance.tui.machine import Load
    from appliance.tui.trail import Sample


class Wanted(NamedTuple):
    """What the next frame is to have; `at` is a time in the past, `None` is now."""

    feeds: frozenset[Feed]
    at: float | None = None
    whose: int | str = 0
    """Whose blocks, a worker's or those of the tier of this name, and in how many `cells`."""
    cells: int = 1024


class Feed(StrEnum):
    """What can be asked of a box beside its status. The names are fields of `Frame`."""

    CACHE = "cache"
    SESSIONS = "sessions"
    ROUTING = "routing"
    EVICTIONS = "evictions"
    POLICY = "policy"
    VERSIONS = "versions"
    HINTS = "hints"
    REQUESTS = "requests"
    BLOCKS = "blocks"
    PREFIXES = "prefixes"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Frame:
    """Immutable. `at` is in seconds since 1970. A feed is `None` where it was not asked for or could not be had;
    `problems` says which and why. `lost` says why the box does not answer; the rest is then what it said last, at
    `said_at`."""

    at: float
    said_at: float | None = None
    lost: str | None = None
    past_of: float | None = None
    """Set for a frame of the past: when it was looked at. `samples` then lead to it."""
    samples: tuple[Sample, ...] | None = None
    status: BoxStatus | None = None
    cache: CacheView | None = None
    sessions: SessionCaches | None = None
    routing: Routing | None = None
    evictions: tuple[EvictedBlock, ...] | None = None
    policy: PolicyBody | None = None
    versions: tuple[PolicyVersionView, ...] | None = None
    hints: tuple[HintView, ...] | None = None
    requests: tuple[RequestView, ...] | None = None
    active: tuple[ActiveRequestView, ...] | None = None
    """Requests under way; they come with the others."""
    blocks: BlockMapView | None = None
    prefixes: Prefixes | None = None
    events: tuple[ToldEvent, ...] | None = None
    """Those that this console has heard, the oldest first."""
    missed_evictions: int = 0
    """Those that were forgotten before they could be asked for."""
    loads: Mapping[int, Load] = field(default_factory=dict)
    """What each worker's processes take of this machine; empty where the box is on another."""
    problems: Mapping[str, str] = field(default_factory=dict)
    recorded_at: Mapping[str, float] = field(default_factory=dict)
    """Of the past: when those feeds were recorded that are not of every second."""
