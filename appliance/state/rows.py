"""Records as rows of the tables, and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from appliance.records import (
    AccessRecord,
    ActionRecord,
    DecisionRecord,
    EvictionRecord,
    Outcome,
    PolicyRecord,
    RequestRecord,
    SessionRecord,
)
from appliance.state.engines import json_text
from appliance.state.tables import ActionRow, PolicyRow, RangeRow, RequestRow, SessionRow

Row = tuple[Any, ...]
"""The values of a table's columns, in their order; JSON is text already."""

_BLAME: Final = tuple(Blame.__dataclass_fields__)
_DIVERGENCE: Final = tuple(Divergence.__dataclass_fields__)
_NO_BLAME: Final = (None,) * len(_BLAME)
_NO_DIVERGENCE: Final = (None,) * len(_DIVERGENCE)
_blame_values: Final = attrgetter(*_BLAME)
_divergence_values: Final = attrgetter(*_DIVERGENCE)
_ACCESS: Final = tuple(AccessRecord.__dataclass_fields__)[:-1]
_access_values: Final = attrgetter(*_ACCESS)
_eviction_values: Final = attrgetter(*EvictionRecord.__dataclass_fields__)


def request_row(number: int, record: RequestRecord) -> Row:
    tokens = dict.fromkeys(Source, 0)
    for one in record.ranges:
        tokens[one.source] += one.end - one.start
    return (
        number,
        record.id,
        record.session,
        record.parent,
        record.turn,
        record.client,
        record.model,
        record.worker,
        record.arrived_at,
        record.first_token_seconds,
        record.total_seconds,
        record.queued_seconds,
        record.prompt_tokens,
        record.cached_tokens,
        record.completion_tokens,
        *(tokens.values() if record.ranges else (None,) * len(tokens)),
        record.outcome.value,
        record.finish,
        json_text(record.hints) if record.hints else None,
        record.error,
    )


def range_row(request: int, one: TokenRange) -> Row:
    return (
        request,
        one.start,
        one.end,
        one.source.value,
        None if one.reason is None else one.reason.value,
        one.worker,
        *(_NO_BLAME if one.blame is None else _blame_values(one.blame)),
        *(_NO_DIVERGENCE if one.divergence is None else _divergence_values(one.divergence)),
    )


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
    return (
        record.name,
        record.parent,
        record.client,
        record.model,
        record.state,
        record.turns,
        record.first_seen_at,
        record.last_used_at,
        record.prompt_tokens,
        None if record.plan is None else json_text(record.plan),
    )


def session_of(record: RequestRecord) -> Row:
    """What a request tells of its session."""
    ended_at = record.arrived_at + record.total_seconds
    told = (record.session, record.parent, record.client, record.model)
    return (*told, None, None, record.arrived_at, ended_at, None, None)


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
    """The file numbers it."""
    return (None, *_eviction_values(record))


def eviction_record(row: Sequence[Any]) -> EvictionRecord:
    """All its columns but the first are the record's fields, in their order."""
    return EvictionRecord(*row[1:])


def decision_row(record: DecisionRecord) -> Row:
    """The file numbers it."""
    return (None, record.boot, record.number, record.at, record.request, record.body)


def decision_record(row: Sequence[Any]) -> DecisionRecord:
    """All its columns but the first are the record's fields, in their order."""
    return DecisionRecord(*row[1:])


def action_row(record: ActionRecord) -> Row:
    """The file numbers it."""
    return (None, record.at, record.who, record.verb, record.target, json_text(record.details), record.effect)


def action_record(row: ActionRow) -> ActionRecord:
    return ActionRecord(row.at, row.who, row.verb, row.target, row.details, row.effect)


def policy_row(record: PolicyRecord) -> Row:
    """The file numbers it."""
    return (None, record.activated_at, record.name, record.text, record.author, record.note)


def policy_record(row: PolicyRow) -> PolicyRecord:
    return PolicyRecord(row.activated_at, row.name, row.text, row.author, row.note)


def access_row(number: int, last_block: int, record: AccessRecord) -> Row:
    return (number, last_block, *_access_values(record), zlib.compress(record.regions, 1))


def access_record(row: Sequence[Any]) -> AccessRecord:
    """All its columns but the first two are the record's fields, in their order. Raises `ValueError` when it is
    damaged."""
    try:
        return AccessRecord(*[*row[2:-1], zlib.decompress(row[-1])])
    except zlib.error as error:
        raise ValueError(f"access {row[0]} is damaged: {error}") from error
