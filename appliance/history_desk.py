"""What the box remembers, for operators: from its database, and what it knows of sessions now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from appliance.api.hint_views import MAX_SECONDS, Hints
from appliance.api.history_views import (
    EvictionHistory,
    PastBlocks,
    PastEviction,
    PastPrefixes,
    PastSessions,
    SessionEntry,
    SessionList,
    Snapshot,
)
from appliance.api.routing_views import PastRouting
from appliance.chronicle import hints_of
from appliance.decision_views import past_decision
from appliance.errors import NotReady
from appliance.hint_desk import hint_view
from appliance.past_views import PREFIXES, SESSIONS, blocks_in, blocks_name, prefixes_in, sessions_in
from appliance.records import EvictionRecord, SessionRecord, ViewRecord
from appliance.state.database import Database
from appliance.state.reader import Reader

if TYPE_CHECKING:
    from appliance.retention import Retention

MOST_ACTIONS: Final = 10_000
"""Of those in which a hint that still holds was given."""

T = TypeVar("T")


class HistoryDesk:
    """`api.box.HistoryDesk`."""

    def __init__(self, database: Database, retention: Retention | None, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._retention = retention

    async def sessions(self, since: float | None, limit: int) -> SessionList:
        found = await self._database.ask(lambda reader: reader.sessions(since, limit))
        return SessionList([self._entry(record) for record in found])

    async def evictions(
        self, session: str | None, since: float | None, until: float | None, limit: int
    ) -> EvictionHistory:
        found = await self._database.ask(lambda reader: reader.evictions(session, since, until, limit))
        return EvictionHistory([_past_eviction(record) for record in found])

    async def snapshot(self, at: float | None) -> Snapshot | None:
        found = await self._database.ask(lambda reader: reader.snapshot(at))
        return None if found is None else Snapshot(found.at, dict(found.status))

    async def session_caches(self, at: float | None) -> PastSessions | None:
        return await self._seen(SESSIONS, at, lambda found: PastSessions(found.at, sessions_in(found)))

    async def blocks(self, whose: int | str, at: float | None) -> PastBlocks | None:
        """A worker's, or those of the tier of this name."""
        return await self._seen(blocks_name(whose), at, lambda found: PastBlocks(found.at, blocks_in(found)))

    async def prefixes(self, at: float | None) -> PastPrefixes | None:
        return await self._seen(PREFIXES, at, lambda found: PastPrefixes(found.at, prefixes_in(found)))

    async def _seen(self, name: str, at: float | None, made: Callable[[ViewRecord], T]) -> T | None:
        """Made in the thread that reads. Raises `NotReady` for what another version has recorded."""

        def read(reader: Reader) -> T | None:
            found = reader.view(name, at)
            return None if found is None else made(found)

        try:
            return await self._database.ask(read)
        except ValueError as error:
            raise NotReady(f"what was recorded cannot be shown: {error}") from error

    async def decisions(self, until: float | None, limit: int) -> PastRouting:
        """Of the router, as far as they were known then; those of another version are left out."""
        at = self._clock() if until is None else until
        found = await self._database.ask(lambda reader: reader.decisions(until, limit))
        views = [view for record in found if (view := past_decision(record, at)) is not None]
        return PastRouting(views)

    async def hints(self, at: float) -> Hints:
        """Those that were active then."""
        since = at - MAX_SECONDS
        told = await self._database.ask(lambda reader: reader.actions(since, MOST_ACTIONS, until=at))
        held = [hint for hint in hints_of(told) if hint.given_at <= at < hint.expires_at]
        return Hints([hint_view(hint, hint.expires_at - at) for hint in held])

    def _entry(self, record: SessionRecord) -> SessionEntry:
        live = None if self._retention is None else self._retention.session(record.name)
        return SessionEntry(
            session=record.name,
            parent=record.parent,
            client=record.client,
            model=record.model,
            state=record.state if live is None else live.state.value,
            is_live=live is not None,
            turns=record.turns,
            first_seen_at=record.first_seen_at,
            last_used_at=record.last_used_at,
            prompt_tokens=record.prompt_tokens,
        )


def _past_eviction(record: EvictionRecord) -> PastEviction:
    return PastEviction(
        boot=record.boot,
        number=record.number,
        at=record.at,
        worker=record.worker,
        block_hash=record.block_hash,
        first_token=record.first_token,
        region=record.region,
        owner=record.owner,
        age_seconds=record.age_seconds,
        priority=record.priority,
        rule=record.rule,
        awaited=record.awaited,
        cause_session=record.cause,
        cause_request=record.cause_request,
    )
