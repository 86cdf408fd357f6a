"""The box's hold on its database: what happens goes in, and at a start what was comes back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from appliance.access_log import AccessLog
from appliance.access_records import Recalled, record_of
from appliance.api.responses_journal import Entry, entries_of, entry_body
from appliance.api.responses_memory import MemoryStore
from appliance.audit import MOST_REMEMBERED
from appliance.cache.session_state import SessionState
from appliance.decision_views import decision_record
from appliance.errors import NotReady
from appliance.eviction_log import Evicted, EvictionLog
from appliance.hint_book import OperatorHint, hint_of
from appliance.keepsake import subject_from
from appliance.last_policy import earlier_versions
from appliance.policy_book import PolicyVersion
from appliance.records import ActionRecord, EvictionRecord, PolicyRecord, SessionRecord, SnapshotRecord
from appliance.retention import MAX_SESSIONS, Retention
from appliance.router.history import History
from appliance.state.backlog import ManyEvictions
from appliance.state.database import Database
from appliance.state.reader import Reader
from appliance.state.stored import Shelf, StoredChange
from appliance.view_watch import Look, ViewWatch

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS: Final = 1.0
POLICIES_READ: Final = 1000


class Remembered(NamedTuple):
    """What a start finds: sessions with the one used last first, policies with the active one first, actions with the
    newest first."""

    sessions: list[SessionRecord]
    policies: list[PolicyRecord]
    actions: list[ActionRecord]
    items: dict[str, bytes]
    entries: list[tuple[str, bytes]]


NOTHING: Final = Remembered([], [], [], {}, [])


class Chronicle:
    """Over one database, for one life of the box."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.database = database
        self.remembered = NOTHING
        self.policies: list[PolicyVersion] = []
        """Those of `remembered`, read."""
        self._clock = clock
        self._sleep = sleep
        self._watching: list[asyncio.Task[None]] = []

    async def open(self, store: MemoryStore) -> list[str]:
        """Opens the database and fills the store, which is kept in it from then on. Words for the operator."""
        words = await asyncio.to_thread(self.database.start)
        try:
            self.remembered = await self.database.ask(_read_all)
        except NotReady:
            # Why is said already, or will be. What comes is kept as soon as it can be.
            store.keep_in(self)
            return words
        except Exception as error:
            # Whatever stands there, a box that starts without it is better than none.
            log.exception("what is remembered could not be read")
            store.keep_in(self)
            return [*words, f"{self.database.path}: what is remembered could not be read and is left as it is: {error}"]
        self.policies = await asyncio.to_thread(earlier_versions, self.remembered.policies)
        await asyncio.to_thread(self._fill, store)
        return words

    def watch(
        self, status: Callable[[], Mapping[str, Any]], evictions: EvictionLog, looks: Sequence[Look] = ()
    ) -> None:
        """From now on each second and each eviction is recorded, and what `looks` see; in the running loop, to be ended
        with `close`."""
        boot = self._clock()
        evictions.on_evicted = lambda first, told: self.database.record(many_evictions(boot, first, told))
        views = ViewWatch(looks, self.database.record, self._clock, self._sleep)
        self._watching = [asyncio.create_task(self._watch(status), name="chronicle")]
        if looks:
            self._watching.append(asyncio.create_task(views.run(), name="chronicle of views"))

    async def close(self) -> None:
        """What waits is written. Idempotent."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.to_thread(self.database.stop)

    async def keep_accesses(self, record: AccessLog, model: str, clock: Callable[[], float]) -> str | None:
        """Fill a new access log with what was, and keep what is added from now on. `clock` is the log's. Words for the
        operator, where there is something to say."""
        now = self._clock()
        ahead, block_tokens, words = now - clock(), record.block_tokens, None
        try:
            found = await self.database.ask(lambda reader: reader.accesses(model, block_tokens))
            recalled = Recalled(found, ahead, now)
            await asyncio.to_thread(record.restore, recalled)
            record.dropped += recalled.lost
            if found:
                words = f"{len(record)} request(s) can be replayed from before"
                words += f", {recalled.lost} cannot: what they go on from is lost" if recalled.lost else ""
        except NotReady:
            # Why is said already, or will be.
            pass
        except Exception:
            log.exception("the accesses that are remembered could not be read")
            words = "what-if begins anew"
        record.on_added = lambda added: self.database.record(record_of(added, model, block_tokens, ahead))
        return words

    def keep_decisions(self, history: History, clock: Callable[[], float]) -> None:
        """From now on each decision of a router is recorded, and what came of it; `clock` is the router's."""
        boot = self._clock()
        history.on_told = lambda told: self.database.record(decision_record(told, boot, self._clock() - clock()))

    def resume(self, retention: Retention) -> int:
        """Make the sessions known that were, and what operators said of them, with the time that is left; how many
        sessions there are."""
        now = self._clock()
        for record in reversed(self.remembered.sessions):
            subject = subject_from(record)
            if subject is not None:
                retention.resume(subject, _state(record), max(now - record.last_used_at, 0.0))
        retention.hints.restore(hints_of(self.remembered.actions))
        return retention.num_sessions

    def item(self, item_id: str, body: bytes | None) -> None:
        """As a `Journal` of the store."""
        self.database.record(StoredChange(Shelf.ITEMS, item_id, body))

    def entry(self, entry_id: str, entry: Entry | None) -> None:
        """As a `Journal` of the store."""
        body = None if entry is None else entry_body(entry)
        self.database.record(StoredChange(Shelf.ENTRIES, entry_id, body))

    def _fill(self, store: MemoryStore) -> None:
        """What is not whole, or finds no room in the store, goes from the database too."""
        items, entries = self.remembered.items, self.remembered.entries
        store.restore(entries_of(entries, items))
        for item_id in items:
            if not store.holds_item(item_id):
                self.item(item_id, None)
        for entry_id, _ in entries:
            if not store.holds(entry_id):
                self.entry(entry_id, None)
        store.keep_in(self)
        self.remembered = self.remembered._replace(items={}, entries=[])

    async def _watch(self, status: Callable[[], Mapping[str, Any]]) -> None:
        while True:
            self.database.record(SnapshotRecord(self._clock(), status()))
            await self._sleep(SNAPSHOT_SECONDS)


def hints_of(actions: Sequence[ActionRecord]) -> list[OperatorHint]:
    """That were given and not withdrawn, by the newest actions first; what this version cannot read is left out."""
    hints: dict[str, OperatorHint] = {}
    for action in reversed(actions):
        with suppress(KeyError, TypeError, ValueError):
            if "after" in action.details:
                hint = hint_of(action.details["after"])
                hints[hint.id] = hint
            elif action.verb == "hint withdraw":
                hints.pop(action.details["before"]["id"], None)
    return list(hints.values())


def many_evictions(boot: float, first_number: int, told: Sequence[Evicted]) -> ManyEvictions:
    numbered = list(enumerate(told, first_number))
    return ManyEvictions(len(told), lambda: (eviction_record(boot, number, one) for number, one in numbered))


def eviction_record(boot: float, number: int, evicted: Evicted) -> EvictionRecord:
    one = evicted.eviction
    block_hash = one.block_hash
    return EvictionRecord(
        boot=boot,
        number=number,
        at=evicted.at_seconds,
        worker=evicted.worker,
        block_hash=block_hash.hex()
        if isinstance(block_hash, bytes)
        else None
        if block_hash is None
        else str(block_hash),
        first_token=one.first_token,
        region=evicted.region,
        owner=one.owner,
        cause=one.cause,
        cause_request=one.cause_request,
        rule=one.rule,
        priority=one.priority,
        age_seconds=one.age_seconds,
        awaited=one.awaited,
    )


def _read_all(reader: Reader) -> Remembered:
    return Remembered(
        reader.sessions(limit=MAX_SESSIONS),
        reader.policies(limit=POLICIES_READ),
        reader.actions(limit=MOST_REMEMBERED),
        reader.stored_items(),
        reader.stored_entries(),
    )


def _state(record: SessionRecord) -> SessionState:
    """What ran when the box ended was cut off: it is idle."""
    known = SessionState(record.state) if record.state in set(SessionState) else SessionState.IDLE
    return SessionState.IDLE if known is SessionState.RUNNING else known
