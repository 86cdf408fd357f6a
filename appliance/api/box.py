"""The running box as the operator API sees it."""

from __future__ import annotations

from typing import Protocol

from appliance.api.eviction_page import EvictionPage
from appliance.api.views import BoxStatus
from appliance.cache.policy import Policy


class Box(Protocol):
    """All but `apply_policy` answer from memory: they are called in the loop that serves tokens."""

    def status(self) -> BoxStatus: ...

    def is_ready(self) -> bool:
        """Whether a generation request would be taken now."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text format 0.0.4."""
        ...

    def policy(self) -> Policy:
        """The active one. Raises `NotReady`, and `InvalidRequest` for a box without retention."""
        ...

    def evictions(self, since: int | None, limit: int) -> EvictionPage:
        """At most `limit` of those remembered: the oldest with a number of at least `since`, without it the newest."""
        ...

    async def apply_policy(self, policy: Policy) -> None:
        """Make it the active one, also for what is in the cache. Raises as `policy`."""
        ...
