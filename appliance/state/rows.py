"""Records as rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from appliance.records import (
    ActionRecord,
    EvictionRecord,
    Outcome,
    PolicyRecord,
    RequestRecord,
    SessionRecord,
)
from appliance.state.tables import ActionRow, EvictionRow, PolicyRow, RangeRow, RequestRow, SessionRow

Row = dict[str, Any]

_NO_BLAME: Final = dict.fromkeys(f"blame_{name}" for name in Blame.__dataclass_fields__)
_NO_DIVERGENCE: Final = dict.fromkeys(f"divergence_{name}" for name in Divergence.__dataclass_fields__)


def request_row(number: int, record: RequestRecord) -> Row:
    tokens = dict.fromkeys(Source, 0)
    for one in record.ranges:
        tokens[one.source] += one.tokens
    is_known = bool(record.ranges)
    return {
        "number": number,
        "id": record.id,
        "session": record.session,
        "parent": record.parent,
        "turn": record.turn,
        "client": record.client,
        "model": record.model,
        "worker": record.worker,
        "arrived_at": record.arrived_at,
        "first_token_seconds": record.first_token_seconds,
        "total_seconds": record.total_seconds,
        "queued_seconds": record.queued_seconds,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
        **{f"{source.value}_tokens": count if is_known else None for source, count in tokens.items()},
        "outcome": record.outcome.value,
        "finish": record.finish,
        "hints": dict(record.hints) or None,
        "error": record.error,
    }


def range_row(request: int, one: TokenRange) -> Row:
    blame, divergence = one.blame, one.divergence
    return {
        "request": request,
        "start": one.start,
        "end": one.end,
        "source": one.source.value,
        "reason": None if one.reason is None else one.reason.value,
        "worker": one.worker,
        **(_NO_BLAME if blame is None else {name: getattr(blame, name[6:]) for name in _NO_BLAME}),
        **(_NO_DIVERGENCE if divergence is None else {name: getattr(divergence, name[11:]) for name in _NO_DIVERGENCE}),
    }


def request_record(row: RequestRow, ranges: tuple[TokenRange, ...]) -> RequestRecord:
    return RequestRecord(
        id=row.id,
        session=row.session,
        parent=row.parent,
        turn=row.turn,
        client=row.client,
        model=row.model,
        worker=row.worker,
        arrived_at=row.arrived_at,
        first_token_seconds=row.first_token_seconds,
        total_seconds=row.total_seconds,
        queued_seconds=row.queued_seconds,
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        completion_tokens=row.completion_tokens,
        outcome=Outcome(row.outcome),
        finish=row.finish,
        ranges=ranges,
        hints=row.hints or {},
        error=row.error,
    )


def token_range(row: RangeRow) -> TokenRange:
    return TokenRange(
        row.start,
        row.end,
        Source(row.source),
        None if row.reason is None else Reason(row.reason),
        _blame(row),
        _divergence(row),
        row.worker,
    )


def _blame(row: RangeRow) -> Blame | None:
    priority, at, age = row.blame_priority, row.blame_at, row.blame_age_seconds
    if priority is None or at is None or age is None:
        return None
    return Blame(row.blame_session, row.blame_request, row.blame_rule, priority, at, age)


def _divergence(row: RangeRow) -> Divergence | None:
    if row.divergence_token is None:
        return None
    return Divergence(
        row.divergence_token,
        row.divergence_place,
        row.divergence_before,
        row.divergence_now,
        row.divergence_against,
        row.divergence_rule,
    )


def session_row(record: SessionRecord) -> Row:
    return _fields(record) | {"plan": None if record.plan is None else dict(record.plan)}


def session_of(record: RequestRecord) -> Row:
    """What a request tells of its session."""
    return {
        "name": record.session,
        "parent": record.parent,
        "client": record.client,
        "model": record.model,
        "first_seen_at": record.arrived_at,
        "last_used_at": record.arrived_at + record.total_seconds,
    }


def session_record(row: SessionRow) -> SessionRecord:
    return SessionRecord(
        name=row.name,
        parent=row.parent,
        client=row.client,
        model=row.model,
        state=row.state,
        turns=row.turns,
        first_seen_at=row.first_seen_at,
        last_used_at=row.last_used_at,
        prompt_tokens=row.prompt_tokens,
        plan=row.plan,
    )


def eviction_row(record: EvictionRecord) -> Row:
    return _fields(record)


def eviction_record(row: EvictionRow) -> EvictionRecord:
    return EvictionRecord(**{name: getattr(row, name) for name in EvictionRecord.__dataclass_fields__})


def action_row(record: ActionRecord) -> Row:
    return _fields(record) | {"details": dict(record.details)}


def action_record(row: ActionRow) -> ActionRecord:
    return ActionRecord(row.at, row.who, row.verb, row.target, row.details, row.effect)


def policy_row(record: PolicyRecord) -> Row:
    return _fields(record)


def policy_record(row: PolicyRow) -> PolicyRecord:
    return PolicyRecord(row.activated_at, row.name, row.text, row.author, row.note)


def _fields(record: Any) -> Row:
    """`dataclasses.asdict` without its deep copies."""
    names: Mapping[str, Any] = record.__dataclass_fields__
    return {name: getattr(record, name) for name in names}
