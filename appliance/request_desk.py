"""Requests for those who ask about them: those under way, and those that have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import msgspec

from appliance.api.lint_views import BusterView, Lint
from appliance.api.problems import NothingOfThisName
from appliance.api.request_views import (
    ActiveRequestView,
    Cancelled,
    Finding,
    ProtocolName,
    ReasonName,
    RequestList,
    RequestView,
    Why,
)
from appliance.audit import Audit
from appliance.box_events import RequestCancelled
from appliance.errors import CancelledByOperator, NotReady, nearest
from appliance.lint import Buster, lint
from appliance.records import ActionRecord, RequestRecord
from appliance.request_book import LAST
from appliance.router.decision import why
from appliance.under_way import Progress, RequestPhase
from appliance.why import Circumstances, Said, asked, findings

if TYPE_CHECKING:
    from appliance.pipeline import Pipeline
    from appliance.state.database import Database

MOST_LINTED: Final = 20_000
"""Requests looked at, the newest."""
PROTOCOLS: Final[Mapping[str, ProtocolName]] = {
    "chatcmpl-": "chat",
    "cmpl-": "completions",
    "msg_": "messages",
    "resp_": "responses",
}
"""By the beginning of an answer's id."""


class RequestDesk:
    """`api.box.RequestDesk` over a pipeline's book, and behind it the database, if there is one."""

    def __init__(
        self,
        pipeline: Pipeline,
        rules: Collection[str],
        *,
        has_host_tier: bool,
        audit: Audit | None = None,
        database: Database | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._audit = audit or Audit()
        self._emit = pipeline.events.emit
        self._database = database
        self._router = pipeline.router
        self._under_way = pipeline.under_way
        self._book = pipeline.book
        self._circumstances = Circumstances(rules, has_host_tier, self._routed)
        self._clock = clock

    async def newest(
        self, limit: int, session: str | None, since: float | None = None, until: float | None = None
    ) -> RequestList:
        ended = [*map(request_view, await self._newest(limit, session, since, until))]
        return RequestList(ended, self._active(session)[:limit])

    async def find(self, name: str) -> RequestView | None:
        record = await self._find(name)
        return None if record is None else request_view(record)

    async def why(self, name: str) -> Why | None:
        record = await self._find(name)
        if record is None:
            return None
        said = findings(record, self._circumstances)
        return Why(request_view(record), asked(record, self._clock()), [self._finding(record, one) for one in said])

    async def lint(self, seconds: float) -> Lint:
        records = await self._newest(MOST_LINTED, None, self._clock() - seconds)
        # Thousands of records take tens of milliseconds.
        found = await asyncio.to_thread(lint, records, self._rules, self._prefill_seconds)
        return Lint(seconds, len(records), [_buster_view(one, self._rules) for one in found])

    async def cancel(self, name: str, by: str, *, dry_run: bool) -> Cancelled:
        """Raises `NothingOfThisName` for one that is not under way."""
        request = self._under_way.find(name)
        if request is None:
            raise await self._not_under_way(name)
        progress = request.progress()
        kept, impact = self._kept(progress), self._impact(progress)
        if dry_run:
            return Cancelled(True, active_view(progress), kept, impact, None)
        request.cancel(CancelledByOperator(by))
        effect = f"cancelled by {by} after {_tokens(progress.completion_tokens)}"
        session = progress.entry.identity.session_id
        self._emit(
            RequestCancelled(name, session, progress.worker, by, progress.phase.value, progress.completion_tokens)
        )
        details = {"session": session, "phase": progress.phase.value, "impact": impact}
        self._audit.tell(ActionRecord(self._clock(), by, "request cancel", name, details, effect))
        return Cancelled(False, active_view(progress), kept, impact, effect)

    async def _not_under_way(self, name: str) -> NothingOfThisName:
        if self._book.has_ended(name) or (self._database is not None and await self._find(name) is not None):
            hint = f"GET /box/v1/requests/{name} tells how."
            return NothingOfThisName(f"request {name!r} has ended", code="request_ended", hint=hint)
        near = nearest(name, self._under_way.names())
        hint = f"Did you mean {near}?" if near else "GET /box/v1/requests lists those that are, under active."
        return NothingOfThisName(f"no request {name!r} is under way", code="no_request", hint=hint)

    def _kept(self, progress: Progress) -> int | None:
        """Only full blocks are cached."""
        block_tokens = self._router.block_tokens
        return None if progress.computed_tokens is None else progress.computed_tokens // block_tokens * block_tokens

    def _impact(self, progress: Progress) -> str:
        whose = progress.entry.identity.session_id
        of = "" if whose is None else f" of {whose}"
        if progress.computed_tokens is not None:
            made, kept = _tokens(progress.completion_tokens), f"{self._kept(progress):,} tokens of prompt and answer"
            return f"ends an answer{of} after {made}; {kept} stay in the cache of worker {progress.worker}"
        if progress.phase is RequestPhase.PREFILL:
            read = f"a prompt{of} of {progress.entry.prompt_tokens:,} tokens is being read"
            return f"{read}: what was computed of it stays in the cache of worker {progress.worker}"
        return f"a request{of} with {progress.entry.prompt_tokens:,} tokens still waits: nothing was computed for it"

    def _active(self, session: str | None) -> list[ActiveRequestView]:
        told = [request.progress() for request in self._under_way]
        return [active_view(one) for one in reversed(told) if session in (None, one.entry.identity.session_id)]

    async def _find(self, name: str) -> RequestRecord | None:
        record = await self._book.find(name)
        if record is None and self._database is not None:
            newest = name == LAST
            return await self._database.ask(
                lambda reader: next(iter(reader.requests(limit=1)), None) if newest else reader.request(name)
            )
        return record

    async def _newest(
        self, limit: int, session: str | None, since: float | None, until: float | None = None
    ) -> list[RequestRecord]:
        """What the book has not any more comes from the database, if that can be read."""
        found = self._book.newest(limit, session, since, until)
        if self._database is None or len(found) == limit:
            return found
        known = {record.id for record in found}
        with suppress(NotReady):
            older = await self._database.ask(lambda reader: reader.requests(session, since, until, limit))
            found += [record for record in older if record.id not in known]
        return found[:limit]

    def _prefill_seconds(self, worker: int | None, tokens: int) -> float:
        paces = self._router.paces
        return tokens * paces.of(-1 if worker is None else worker).seconds_per_token

    def _finding(self, record: RequestRecord, said: Said) -> Finding:
        seconds = None
        if said.reason is not None and record.worker is not None:
            seconds = self._prefill_seconds(record.worker, said.tokens)
        reason = None if said.reason is None else said.reason.value
        return Finding(
            said.tokens,
            said.start,
            said.source.value,
            cast("ReasonName | None", reason),
            said.text,
            said.advice,
            seconds,
        )

    def _routed(self, name: str) -> str | None:
        decisions = self._router.history.of(name)
        if not decisions:
            return None
        last = decisions[-1]
        return why(last.worker, last.reason, last.candidates)


def request_view(record: RequestRecord) -> RequestView:
    """The same, field for field."""
    return msgspec.convert(record, RequestView, from_attributes=True, strict=False)


def active_view(progress: Progress) -> ActiveRequestView:
    entry = progress.entry
    return ActiveRequestView(
        id=entry.name,
        session=entry.identity.session_id,
        turn=entry.turn,
        client=entry.identity.client,
        protocol=next((name for start, name in PROTOCOLS.items() if entry.name.startswith(start)), None),
        arrived_at=entry.arrived_at,
        phase=progress.phase.value,
        worker=progress.worker,
        queued_seconds=progress.queued_seconds,
        first_token_seconds=entry.first_token_seconds,
        total_seconds=progress.seconds,
        prompt_tokens=entry.prompt_tokens,
        cached_tokens=progress.cached_tokens,
        completion_tokens=progress.completion_tokens,
    )


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"


def _buster_view(buster: Buster, rules: Collection[str]) -> BusterView:
    kind = buster.kind
    return BusterView(
        client=kind.client,
        place=kind.place,
        label=kind.label,
        rule=kind.rule,
        is_on=kind.rule in rules,
        requests=buster.requests,
        of=buster.of,
        tokens=buster.tokens,
        seconds=buster.seconds,
        before=buster.before,
        now=buster.now,
        last=buster.last,
        advice=buster.advice,
    )
