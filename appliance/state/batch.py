"""Many records, one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import delete, func, select

from appliance.records import (
    AccessRecord,
    ActionRecord,
    DecisionRecord,
    EvictionRecord,
    PolicyRecord,
    RequestRecord,
    SessionRecord,
    SnapshotRecord,
    ViewRecord,
)
from appliance.state import rows, statements
from appliance.state.backlog import Entry, ManyEvictions
from appliance.state.engines import WriteSession
from appliance.state.parts import PartsPacker
from appliance.state.snapshots import SnapshotPacker
from appliance.state.statements import Writing, table_of, text_of
from appliance.state.stored import Shelf, StoredChange
from appliance.state.tables import (
    AccessRow,
    RequestRow,
    SnapshotRow,
    StoredEntryRow,
    StoredItemRow,
    ViewRow,
)

ROWS_AT_ONCE: Final = 32
"""Making rows holds the interpreter: so many take less than a millisecond."""

KEY_BYTES: Final = 8

One = TypeVar("One")


class Numbers:
    """What the next rows are called; there is one that writes."""

    def __init__(self, session: WriteSession) -> None:
        self.request = _after(session, RequestRow.number)
        self.snapshot = _after(session, SnapshotRow.number)
        self.view = _after(session, ViewRow.number)
        self.stored = _after(session, StoredEntryRow.number)
        self.access = _after(session, AccessRow.number)
        self.block = _after(session, AccessRow.last_block)


class Batches:
    """Writes batches of records to one file, each in a transaction of the caller, who says when it is `committed`."""

    def __init__(self, session: WriteSession) -> None:
        self._numbers = Numbers(session)
        self._is_open = False
        self._packer = SnapshotPacker()
        self._base: int | None = None
        self._views: defaultdict[str, PartsPacker] = defaultdict(PartsPacker)
        self._view_bases: dict[str, int] = {}
        self._writers: dict[type[Entry], Callable[[WriteSession, list[Any]], None]] = {
            SessionRecord: self._sessions,
            RequestRecord: self._requests,
            EvictionRecord: self._evictions,
            ManyEvictions: self._many_evictions,
            DecisionRecord: self._decisions,
            ActionRecord: self._actions,
            PolicyRecord: self._policies,
            SnapshotRecord: self._snapshots,
            ViewRecord: self._seen,
            AccessRecord: self._accesses,
            StoredChange: self._stored,
        }

    def committed(self) -> None:
        """What was written last is in the file."""
        self._is_open = False

    def write(self, session: WriteSession, entries: Sequence[Entry]) -> None:
        if self._is_open:
            # The last transaction failed: its numbers are free again, and nothing may lean on what it wrote.
            self._numbers = Numbers(session)
            self._packer.restart()
            self._views.clear()
        self._is_open = True
        by_kind: defaultdict[type[Entry], list[Any]] = defaultdict(list)
        for entry in entries:
            by_kind[type(entry)].append(entry)
        for kind, of_kind in by_kind.items():
            self._writers[kind](session, of_kind)

    def _sessions(self, session: WriteSession, records: list[SessionRecord]) -> None:
        newest = {record.name: record for record in records}
        _insert(session, statements.SESSION_TOLD, newest.values(), rows.session_row)

    def _requests(self, session: WriteSession, records: list[RequestRecord]) -> None:
        named = {record.session: record for record in records if record.session is not None}
        _insert(session, statements.SESSION_USED, named.values(), rows.session_of)
        # An id that comes twice is a client's own: the last one stands.
        numbered = list(enumerate({record.id: record for record in records}.values(), self._numbers.request))
        self._numbers.request += len(numbered)
        _insert(session, statements.REQUEST, numbered, lambda one: rows.request_row(*one))
        ranges = ((number, one) for number, record in numbered for one in record.ranges)
        _insert(session, statements.RANGE, ranges, lambda one: rows.range_row(*one))

    def _evictions(self, session: WriteSession, records: list[EvictionRecord]) -> None:
        _insert(session, statements.EVICTION, records, rows.eviction_row)

    def _many_evictions(self, session: WriteSession, batches: list[ManyEvictions]) -> None:
        records = (record for batch in batches for record in batch.make())
        _insert(session, statements.EVICTION, records, rows.eviction_row)

    def _decisions(self, session: WriteSession, records: list[DecisionRecord]) -> None:
        # Of one that was told twice at once the last word stands.
        newest = {(record.boot, record.number): record for record in records}
        _insert(session, statements.DECISION, newest.values(), rows.decision_row)

    def _actions(self, session: WriteSession, records: list[ActionRecord]) -> None:
        _insert(session, statements.ACTION, records, rows.action_row)

    def _policies(self, session: WriteSession, records: list[PolicyRecord]) -> None:
        _insert(session, statements.POLICY, records, rows.policy_row)

    def _snapshots(self, session: WriteSession, records: list[SnapshotRecord]) -> None:
        _insert(session, statements.SNAPSHOT, records, self._snapshot_row)

    def _snapshot_row(self, record: SnapshotRecord) -> rows.Row:
        packed = self._packer.pack(record.status)
        number = self._numbers.snapshot
        self._numbers.snapshot += 1
        if packed.is_base:
            self._base = number
        return (number, record.at, None if packed.is_base else self._base, packed.body)

    def _seen(self, session: WriteSession, records: list[ViewRecord]) -> None:
        _insert(session, statements.VIEW, records, self._view_row)

    def _view_row(self, record: ViewRecord) -> rows.Row:
        packed = self._views[record.name].pack(record.parts)
        number = self._numbers.view
        self._numbers.view += 1
        if packed.is_base:
            self._view_bases[record.name] = number
        return (number, record.at, record.name, None if packed.is_base else self._view_bases[record.name], packed.body)

    def _accesses(self, session: WriteSession, records: list[AccessRecord]) -> None:
        _insert(session, statements.ACCESS, records, self._access_row)

    def _access_row(self, record: AccessRecord) -> rows.Row:
        number = self._numbers.access
        self._numbers.access += 1
        self._numbers.block += len(record.keys) // KEY_BYTES
        return rows.access_row(number, self._numbers.block - 1, record)

    def _stored(self, session: WriteSession, changes: list[StoredChange]) -> None:
        last = {(change.shelf, change.id): change for change in changes}
        for shelf, row in ((Shelf.ITEMS, StoredItemRow), (Shelf.ENTRIES, StoredEntryRow)):
            of_shelf = [change for (its, _), change in last.items() if its is shelf]
            table = table_of(row)
            for some in _some(change.id for change in of_shelf if change.body is None):
                session.execute(delete(table).where(table.c.id.in_(some)))
            put = [change for change in of_shelf if change.body is not None]
            if shelf is Shelf.ITEMS:
                _insert(session, statements.STORED_ITEM, put, lambda change: (change.id, change.body))
            else:
                _insert(session, statements.STORED_ENTRY, put, self._entry_row)

    def _entry_row(self, change: StoredChange) -> rows.Row:
        number = self._numbers.stored
        self._numbers.stored += 1
        return (change.id, number, change.body)


def _insert(session: WriteSession, statement: Writing, told: Any, row_of: Callable[[Any], rows.Row]) -> None:
    connection = session.connection()
    for some in _some(told):
        values = tuple(value for one in some for value in row_of(one))
        connection.exec_driver_sql(text_of(statement, len(some)), values)


def _some(told: Any) -> Iterator[list[Any]]:
    remaining = iter(told)
    while some := list(islice(remaining, ROWS_AT_ONCE)):
        yield some


def _after(session: WriteSession, column: Any) -> int:
    return int(session.scalar(select(func.max(column))) or 0) + 1
