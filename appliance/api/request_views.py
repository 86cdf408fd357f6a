"""Requests as operators see them: those under way, those that have ended, and why their tokens were computed. Seconds,
tokens, times since 1970; `null` means unknown."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

DEFAULT_LISTED: Final = 50
MAX_LISTED: Final = 1000
"""Seconds since 1970 below which a time must be."""

SourceName = Literal["gpu", "host", "disk", "remote", "recomputed"]
ReasonName = Literal[
    "first_request",
    "diverged",
    "evicted",
    "expired",
    "routed_elsewhere",
    "below_block_boundary",
    "not_cacheable",
    "preempted",
    "tier_failed",
]
OutcomeName = Literal["finished", "failed", "aborted"]
PhaseName = Literal["waiting", "prefill", "decode"]
ProtocolName = Literal["chat", "completions", "messages", "responses"]


class BlameView(Struct, frozen=True):
    """Who needed the room: a session and the request of it, `at` which time, by which rule; what was lost had not been
    used for `age_seconds`, and was worth `priority`."""

    session: str | None
    request: str | None
    rule: str | None
    priority: int
    at: float
    age_seconds: float


class DivergenceView(Struct, frozen=True):
    """The first token that differs from the prompt of `against`, its place, the text around it then and now, and the
    rule of the stabiliser that would have kept the two alike."""

    token: int
    place: str | None
    before: str | None
    now: str | None
    against: str | None
    rule: str | None


class RangeView(Struct, frozen=True):
    """Tokens `start` to `end` (exclusive) of the prompt. `worker` had those that were routed elsewhere."""

    start: int
    end: int
    source: SourceName
    reason: ReasonName | None
    blame: BlameView | None
    divergence: DivergenceView | None
    worker: int | None


class RequestView(Struct, frozen=True):
    """One request. `ranges` cover its prompt in order, without gaps; there are none where no engine has read it."""

    id: str
    session: str | None
    parent: str | None
    turn: int | None
    client: str | None
    model: str
    worker: int | None
    arrived_at: float
    first_token_seconds: float | None
    total_seconds: float
    queued_seconds: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    outcome: OutcomeName
    finish: str | None
    hints: dict[str, Any]
    error: str | None
    ranges: list[RangeView]


class ActiveRequestView(Struct, frozen=True):
    """One that has not ended. It is `waiting` for a place on a worker, its prompt is read there (`prefill`), or its
    answer comes (`decode`); so far it took `total_seconds` and has `completion_tokens`. `cached_tokens` are unknown
    until its prompt was read; `protocol` is `null` for one that the box makes itself."""

    id: str
    session: str | None
    turn: int | None
    client: str | None
    protocol: ProtocolName | None
    arrived_at: float
    phase: PhaseName
    worker: int | None
    queued_seconds: float
    first_token_seconds: float | None
    total_seconds: float
    prompt_tokens: int
    cached_tokens: int | None
    completion_tokens: int


class RequestList(Struct, frozen=True):
    """Those that have ended, the last of them first; and those under way, the newest first."""

    requests: list[RequestView]
    active: list[ActiveRequestView] = []


class Cancelled(Struct, frozen=True):
    """A request under way that is ended, or would be. Of its prompt and answer `kept_tokens` stay in the cache of its
    worker, `null` where that is not known; `impact` says in words what it comes to, and `effect` what was done, `null`
    for a dry run."""

    dry_run: bool
    request: ActiveRequestView
    kept_tokens: int | None
    impact: str
    effect: str | None


class Finding(Struct, frozen=True):
    """One thing to be said of `tokens` of the prompt, from `start` on. `advice`: what can be done about it; computing
    them took `seconds`, by the pace of the worker."""

    tokens: int
    start: int
    source: SourceName
    reason: ReasonName | None
    text: str
    advice: str | None
    seconds: float | None


class Why(Struct, frozen=True):
    """An answer in plain words: what was asked, then what was read from where, then what was not, and why."""

    request: RequestView
    asked: str
    findings: list[Finding]
