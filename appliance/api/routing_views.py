"""Decisions of the router as the operator API shows them. Tokens, not blocks; seconds; `null` means unknown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MAX_LISTED = 200
DEFAULT_LISTED = 20
DEFAULT_RESERVE_SECONDS = 30.0
MAX_RESERVE_SECONDS = 600.0

ReasonName = Literal["cost", "tie", "only", "turn", "chance"]
ApiName = Literal["chat", "messages", "responses"]


class OverlapView(Struct, frozen=True):
    """Leading tokens of the prompt that the worker holds in this tier or a faster one."""

    gpu: int
    host: int
    disk: int
    remote: int


class CostView(Struct, frozen=True):
    """In seconds. `total` is the sum, `affinity` taken off."""

    prefill: float
    load: float
    queue: float
    decode: float
    crowding: float
    displacement: float
    affinity: float
    other: float
    total: float


class CandidateView(Struct, frozen=True):
    """`pending_tokens` follow those on the GPU and are being computed for others; `missing_tokens` are in no tier."""

    worker: int
    overlap: OverlapView
    pending_tokens: int
    missing_tokens: int
    running_requests: int
    queued_tokens: int
    cost: CostView


class OutcomeView(Struct, frozen=True):
    """`missed_tokens` were computed although a worker held them. `regret_seconds`: how much sooner than here the first
    token would have come from `best_worker`, by the cost model, with what was really cached here."""

    cached_tokens: int
    wait_seconds: float
    missed_tokens: int
    best_worker: int
    regret_seconds: float


class DecisionView(Struct, frozen=True):
    """`outcome` is `null` until the first token."""

    request_id: str | None
    age_seconds: float
    worker: int
    reason: ReasonName
    why: str
    prompt_tokens: int
    candidates: list[CandidateView]
    outcome: OutcomeView | None


class RequestRouting(Struct, frozen=True):
    """All decisions about one request, the oldest first: it is routed again when its worker ends."""

    request_id: str
    decisions: list[DecisionView]


class RoutingTotals(Struct, frozen=True):
    """Since the start; what is known of outcomes over the `settled` ones."""

    decisions: int
    settled: int
    regretted: int
    regret_seconds: float
    missed_tokens: int
    scorer_failures: int


class Routing(Struct, frozen=True):
    """The newest decisions first."""

    totals: RoutingTotals
    decisions: list[DecisionView]


class PastDecision(Struct, frozen=True):
    """`boot` is the start of the box that decided, `number` counts since then. `decision` is what was known of it at
    the time that was asked for, and its age then."""

    boot: float
    number: int
    at: float
    decision: DecisionView


class PastRouting(Struct, frozen=True):
    """The newest decisions until a time come first."""

    decisions: list[PastDecision]


class ReservationView(Struct, frozen=True):
    id: str
    expires_in_seconds: float


class PlacementView(Struct, frozen=True):
    """Where the request would go now. Nothing was sent."""

    worker: int
    reason: ReasonName
    why: str
    prompt_tokens: int
    block_tokens: int
    candidates: list[CandidateView]
    reservation: ReservationView | None


class Freed(Struct, frozen=True):
    id: str
    freed: bool = True


class PlacementRequest(Struct):
    """A request of one of the three APIs, or a prompt's tokens. With `reserve` a place is taken for it, for `seconds`
    at most."""

    api: ApiName | None = None
    request: dict[str, Any] | None = None
    token_ids: list[Annotated[int, Meta(ge=0, le=2**32 - 1)]] | None = None
    reserve: bool | None = None
    seconds: Annotated[float, Meta(gt=0, le=MAX_RESERVE_SECONDS)] | None = None
