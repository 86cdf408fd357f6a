"""The router's decisions: who was chosen, at what cost, and how much sooner another would have been."""

from __future__ import annotations

from msgspec import Struct

from appliance.api.routing_views import CostView, DecisionView
from appliance.tui.frame import Frame


class Candidate(Struct, frozen=True):
    """`held` are leading tokens of the prompt by the tier that has them: GPU, host, disk. Costs in seconds."""

    worker: int
    is_chosen: bool
    is_best: bool
    held: tuple[int, int, int]
    pending_tokens: int
    missing_tokens: int
    running: int
    queued_tokens: int
    cost: CostView


class Decision(Struct, frozen=True):
    """`regret_seconds`, `cached_tokens` and `wait_seconds` are `None` until the first token. `at` is in
    seconds since 1970."""

    key: str
    at: float
    age_seconds: float
    request: str | None
    worker: int
    reason: str
    why: str
    prompt_tokens: int
    expected_tokens: int
    cost_seconds: float | None
    cached_tokens: int | None
    missed_tokens: int | None
    wait_seconds: float | None
    best_worker: int | None
    regret_seconds: float | None
    candidates: list[Candidate]


class Decisions(Struct, frozen=True):
    """`regret_share` is the part of settled decisions that another worker would have answered sooner."""

    total: int
    settled: int
    regretted: int
    regret_seconds: float
    missed_tokens: int
    scorer_failures: int
    decisions: list[Decision]

    @property
    def regret_share(self) -> float | None:
        return self.regretted / self.settled if self.settled else None


def decisions(frame: Frame) -> Decisions | None:
    """`None` where the router's decisions are not known."""
    if frame.routing is None:
        return None
    totals = frame.routing.totals
    newest = totals.decisions
    return Decisions(
        totals.decisions,
        totals.settled,
        totals.regretted,
        totals.regret_seconds,
        totals.missed_tokens,
        totals.scorer_failures,
        [_decision(one, frame.at, newest - place) for place, one in enumerate(frame.routing.decisions)],
    )


def _decision(view: DecisionView, at: float, number: int) -> Decision:
    """Decisions are named by how many there were: one about no request has no other name."""
    outcome = view.outcome
    best = None if outcome is None else outcome.best_worker
    chosen = next((one for one in view.candidates if one.worker == view.worker), None)
    return Decision(
        key=str(number),
        at=at - view.age_seconds,
        age_seconds=view.age_seconds,
        request=view.request_id,
        worker=view.worker,
        reason=view.reason,
        why=view.why,
        prompt_tokens=view.prompt_tokens,
        expected_tokens=0 if chosen is None else max(0, view.prompt_tokens - chosen.missing_tokens),
        cost_seconds=None if chosen is None else chosen.cost.total,
        cached_tokens=None if outcome is None else outcome.cached_tokens,
        missed_tokens=None if outcome is None else outcome.missed_tokens,
        wait_seconds=None if outcome is None else outcome.wait_seconds,
        best_worker=best,
        regret_seconds=None if outcome is None else outcome.regret_seconds,
        candidates=[
            Candidate(
                one.worker,
                one.worker == view.worker,
                one.worker == best,
                _by_tier(one.overlap.gpu, one.overlap.host, one.overlap.disk),
                one.pending_tokens,
                one.missing_tokens,
                one.running_requests,
                one.queued_tokens,
                one.cost,
            )
            for one in view.candidates
        ],
    )


def _by_tier(gpu: int, host: int, disk: int) -> tuple[int, int, int]:
    """Overlaps count what a tier or a faster one holds."""
    return gpu, max(host - gpu, 0), max(disk - max(host, gpu), 0)
