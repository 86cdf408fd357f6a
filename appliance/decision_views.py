"""Decisions of the router as operators see them, and as they are remembered."""

from __future__ import annotations

import msgspec
from msgspec.structs import astuple

from appliance.api.routing_views import CandidateView, CostView, DecisionView, OutcomeView, OverlapView, PastDecision
from appliance.records import DecisionRecord
from appliance.router.decision import why
from appliance.router.history import Record
from appliance.router.index import Tier
from appliance.router.scoring import Candidate, Cost


def decision_view(record: Record, age_seconds: float) -> DecisionView:
    return DecisionView(
        request_id=record.request_id,
        age_seconds=age_seconds,
        worker=record.worker,
        reason=record.reason.value,
        why=why(record.worker, record.reason, record.candidates),
        prompt_tokens=record.prompt_tokens,
        candidates=[*map(candidate_view, record.candidates)],
        outcome=None if record.outcome is None else OutcomeView(*record.outcome),
    )


def candidate_view(candidate: Candidate) -> CandidateView:
    prospect, cost = candidate
    block_tokens = prospect.block_tokens
    return CandidateView(
        worker=prospect.worker,
        overlap=OverlapView(*(prospect.held_blocks[tier] * block_tokens for tier in Tier)),
        pending_tokens=prospect.pending_blocks * block_tokens,
        missing_tokens=prospect.missing_blocks * block_tokens,
        running_requests=prospect.running,
        queued_tokens=prospect.prefill_blocks * block_tokens,
        cost=_cost_view(cost),
    )


def _cost_view(cost: Cost) -> CostView:
    return CostView(*cost, total=cost.total_seconds)


def decision_record(record: Record, boot: float, ahead_seconds: float) -> DecisionRecord:
    """`ahead_seconds`: how far the wall's clock is before the router's."""
    view = decision_view(record, 0.0)
    candidates = [
        (*astuple(one)[:1], astuple(one.overlap), *astuple(one)[2:-1], astuple(one.cost)) for one in view.candidates
    ]
    outcome = None if view.outcome is None else astuple(view.outcome)
    body = msgspec.msgpack.encode((view.worker, view.reason, view.why, view.prompt_tokens, candidates, outcome))
    return DecisionRecord(boot, record.number, record.at_seconds + ahead_seconds, view.request_id, body)


def past_decision(record: DecisionRecord, until: float) -> PastDecision | None:
    """As it was known at that time: without its outcome where the first token came later. `None` for one that another
    version has recorded."""
    try:
        worker, reason, words, prompt_tokens, candidates, outcome = msgspec.msgpack.decode(record.body)
        seen = None if outcome is None else OutcomeView(*outcome)
        if seen is not None and record.at + seen.wait_seconds > until:
            seen = None
        weighed = [
            CandidateView(number, OverlapView(*overlap), pending, missing, running, queued, CostView(*cost))
            for number, overlap, pending, missing, running, queued, cost in candidates
        ]
        age_seconds = max(until - record.at, 0.0)
        view = DecisionView(record.request, age_seconds, worker, reason, words, prompt_tokens, weighed, seen)
    except (msgspec.DecodeError, TypeError, ValueError):
        return None
    return PastDecision(record.boot, record.number, record.at, view)
