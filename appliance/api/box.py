"""The running box as the operator API sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from appliance.api.block_views import BlockChain, BlockMapView
from appliance.api.cache_views import CacheView, Flushes, Resized, SessionCaches, TierName, Verification
from appliance.api.eviction_page import EvictionPage
from appliance.api.hint_views import Actions, HintAnswer, HintRequest, Hints, HintWithdrawn
from appliance.api.history_views import EvictionHistory, PastBlocks, PastPrefixes, PastSessions, SessionList, Snapshot
from appliance.api.lint_views import Lint
from appliance.api.policy_views import (
    PolicyBody,
    PolicyChange,
    PolicyCheck,
    PolicyDiff,
    PolicyHistory,
    PolicyRollback,
    PolicyText,
    RuleFields,
)
from appliance.api.prefix_views import Fork, Prefixes
from appliance.api.request_views import Cancelled, RequestList, RequestView, Why
from appliance.api.routing_views import DecisionView, PastRouting, PlacementView, Routing
from appliance.api.views import BoxStatus
from appliance.api.whatif_views import WhatIfJob, WhatIfJobs
from appliance.api.worker_views import RestartAnswer
from appliance.cache.policy import Policy
from appliance.conversation import Conversation
from appliance.event_bus import EventBus


class RoutingDesk(Protocol):
    """The router's decisions, and places at workers."""

    async def place(self, asked: Conversation | Sequence[int], reserve_seconds: float | None) -> PlacementView:
        """Where the conversation, or the prompt of these tokens, would go now. With `reserve_seconds` it weighs
        there so long. Raises a `RequestError`."""
        ...

    def free(self, name: str) -> bool:
        """Give a reserved place back. `False` for one that is not known, or not any more."""
        ...

    def of_request(self, request_id: str) -> list[DecisionView]:
        """By the id of its answer, the oldest first; empty for one that is not known, or not any more."""
        ...

    def newest(self, most: int) -> Routing:
        """At most so many."""
        ...


class CacheDesk(Protocol):
    """What the tiers hold."""

    def tiers(self) -> CacheView: ...

    async def sessions(self, limit: int) -> SessionCaches:
        """At most so many, the one used last first."""
        ...

    async def verify(self) -> Verification: ...

    async def resize(self, tier: TierName, num_bytes: int) -> Resized:
        """Raises `InvalidRequest` for a tier that is not there, or has one size for all its life."""
        ...

    async def flush(self, tier: TierName, worker: int | None) -> Flushes:
        """Raises `InvalidRequest` for a tier or a worker that is not there."""
        ...


class RequestDesk(Protocol):
    """`name` is an answer's id, or `last`; one that ended a moment ago is waited for."""

    async def newest(
        self, limit: int, session: str | None, since: float | None = None, until: float | None = None
    ) -> RequestList:
        """Of those that have ended and of those under way at most so many each, the last first; `since` and `until`
        (seconds since 1970) are the first and the last arrival of those that have ended."""
        ...

    async def find(self, name: str) -> RequestView | None:
        """`None` for one that is not known, or not any more."""
        ...

    async def why(self, name: str) -> Why | None:
        """As `find`."""
        ...

    async def cancel(self, name: str, by: str, *, dry_run: bool) -> Cancelled:
        """End one that is under way, or only say what that would come to. Raises a `RequestError` for any other."""
        ...

    async def lint(self, seconds: float) -> Lint:
        """What clients changed from turn to turn in the requests that came in the last `seconds`."""
        ...


class PolicyDesk(Protocol):
    """What is kept longest, by which rules."""

    def active(self) -> PolicyBody: ...

    def fields(self) -> RuleFields:
        """What a rule may say."""
        ...

    def active_at(self, at: float) -> PolicyBody:
        """Raises a `RequestError` for a time before all that is remembered."""
        ...

    async def check(self, asked: PolicyText) -> PolicyCheck:
        """Raises `InvalidRequest` for what names no policy."""
        ...

    async def read(self, asked: PolicyText) -> tuple[Policy, Policy]:
        """It, and the active one. Raises as `diff`."""
        ...

    async def diff(self, asked: PolicyText) -> PolicyDiff:
        """Against the active one. Raises `InvalidRequest` for a policy that is wrong."""
        ...

    async def apply(self, change: PolicyChange) -> PolicyBody:
        """Make it the active one, also for what is in the cache. Raises as `diff`."""
        ...

    def history(self, most: int, until: float | None = None) -> PolicyHistory:
        """`until`: of those that had become active at that time."""
        ...

    async def roll_back(self, asked: PolicyRollback) -> PolicyBody:
        """Raises a `RequestError` where there is no such version."""
        ...


class BlockDesk(Protocol):
    """What is in the workers' caches, the host tier and the disk."""

    async def blocks(self, worker: int, cells: int) -> BlockMapView:
        """One worker's in at most so many cells. Raises a `RequestError`."""
        ...

    async def host_blocks(self, cells: int) -> BlockMapView:
        """The host tier's. Raises a `RequestError`."""
        ...

    async def disk_blocks(self, cells: int) -> BlockMapView:
        """The disk's. Raises a `RequestError`."""
        ...

    async def chain(self, session: str, token: int) -> BlockChain:
        """The session's last prompt from its start to the block of this token. Raises a `RequestError`."""
        ...


class PrefixDesk(Protocol):
    """How the last prompts of sessions hang together."""

    async def prefixes(self, limit: int, text: int = 0) -> Prefixes:
        """Those of at most so many sessions, as a tree; of each node so many characters of text."""
        ...

    async def search(self, limit: int, text: int, words: str) -> Prefixes:
        """The tree with where in it the words are. Raises a `RequestError`."""
        ...

    async def fork(self, sessions: Sequence[str]) -> Fork:
        """Where the last prompts of these go apart. Raises a `RequestError`."""
        ...


class WhatIfDesk(Protocol):
    """Replays of the live record."""

    def start(self, policy: Policy, active: Policy, last_seconds: float, by: str) -> WhatIfJob:
        """Raises a `RequestError`."""
        ...

    def newest(self) -> WhatIfJobs: ...

    def get(self, job_id: str) -> WhatIfJob:
        """Raises a `RequestError` for one that is not remembered."""
        ...

    async def cancel(self, job_id: str) -> WhatIfJob:
        """Raises as `get`."""
        ...


class HintDesk(Protocol):
    """An operator's word on sessions."""

    def active(self) -> Hints: ...

    async def ask(self, request: HintRequest, *, dry_run: bool) -> HintAnswer:
        """Do it, or only say what it would come to. Raises a `RequestError`."""
        ...

    async def withdraw(self, hint_id: str, by: str) -> HintWithdrawn:
        """Raises a `RequestError` for one that is not active."""
        ...


class WorkerDesk(Protocol):
    """The engines."""

    async def restart(self, worker: int, by: str, *, dry_run: bool) -> RestartAnswer:
        """Begin it, or only say what it would come to. Raises a `RequestError`."""
        ...


class HistoryDesk(Protocol):
    """What the box remembers over restarts. Each raises `NotReady` while it cannot be read."""

    async def sessions(self, since: float | None, limit: int) -> SessionList:
        """Those used since then, at most so many."""
        ...

    async def evictions(
        self, session: str | None, since: float | None, until: float | None, limit: int
    ) -> EvictionHistory:
        """`session`: whose blocks they were; `until` is exclusive."""
        ...

    async def snapshot(self, at: float | None) -> Snapshot | None:
        """The last that was taken until then; without `at` the newest."""
        ...

    async def decisions(self, until: float | None, limit: int) -> PastRouting:
        """Of the router, as far as they were known then."""
        ...

    async def session_caches(self, at: float | None) -> PastSessions | None:
        """The last that were seen until then, as `snapshot`; so do the two that follow."""
        ...

    async def blocks(self, whose: int | str, at: float | None) -> PastBlocks | None:
        """A worker's, or those of the tier of this name."""
        ...

    async def prefixes(self, at: float | None) -> PastPrefixes | None: ...

    async def hints(self, at: float) -> Hints:
        """Those that were active then."""
        ...


class Box(Protocol):
    """All answer from memory: they are called in the loop that serves tokens."""

    @property
    def events(self) -> EventBus:
        """What happens, as it happens."""
        ...

    def status(self) -> BoxStatus: ...

    def is_ready(self) -> bool:
        """Whether a generation request would be taken now."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text format 0.0.4."""
        ...

    def policies(self) -> PolicyDesk:
        """Raises `NotReady`, and `InvalidRequest` for a box without retention."""
        ...

    def routing(self) -> RoutingDesk:
        """Raises `NotReady`."""
        ...

    def cache(self) -> CacheDesk:
        """Raises `NotReady`."""
        ...

    def requests(self) -> RequestDesk:
        """Raises `NotReady`."""
        ...

    def hints(self) -> HintDesk:
        """Raises as `policies`."""
        ...

    def workers(self) -> WorkerDesk:
        """Raises `NotReady`."""
        ...

    def blocks(self) -> BlockDesk:
        """Raises `NotReady`."""
        ...

    def prefixes(self) -> PrefixDesk:
        """Raises `NotReady`."""
        ...

    def whatif(self) -> WhatIfDesk:
        """Raises as `policies`."""
        ...

    def actions(self, limit: int) -> Actions:
        """What operators did, at most so many."""
        ...

    def history(self) -> HistoryDesk:
        """Raises `NotReady` for a box that remembers nothing."""
        ...

    def evictions(self, since: int | None, limit: int) -> EvictionPage:
        """At most `limit` of those remembered: the oldest with a number of at least `since`, without it the newest."""
        ...
