"""Many records, one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Table, delete, func, select
from sqlalchemy.dialects.sqlite import Insert, insert

from appliance.records import (
    ActionRecord,
    EvictionRecord,
    PolicyRecord,
    RequestRecord,
    SessionRecord,
    SnapshotRecord,
)
from appliance.state import rows
from appliance.state.backlog import Entry
from appliance.state.engines import WriteSession
from appliance.state.snapshots import SnapshotPacker
from appliance.state.stored import Shelf, StoredChange
from appliance.state.tables import (
    ActionRow,
    Base,
    EvictionRow,
    PolicyRow,
    RangeRow,
    RequestRow,
    SessionRow,
    SnapshotRow,
    StoredEntryRow,
    StoredItemRow,
)

ROWS_AT_ONCE: Final = 32
"""Making rows holds the interpreter: so many take less than a millisecond."""

One = TypeVar("One")


class Numbers:
    """What the next rows are called; there is one that writes."""

    def __init__(self, session: WriteSession) -> None:
        self.request = _after(session, RequestRow.number)
        self.snapshot = _after(session, SnapshotRow.number)
        self.stored = _after(session, StoredEntryRow.number)


class Batches:
    """Writes batches of records to one file, each in a transaction of the caller, who says when it is `committed`."""

    def __init__(self, session: WriteSession) -> None:
        self._numbers = Numbers(session)
        self._is_open = False
        self._packer = SnapshotPacker()
        self._base: int | None = None
        self._writers: dict[type[Entry], Callable[[WriteSession, list[Any]], None]] = {
            SessionRecord: self._sessions,
            RequestRecord: self._requests,
            EvictionRecord: self._evictions,
            ActionRecord: self._actions,
            PolicyRecord: self._policies,
            SnapshotRecord: self._snapshots,
            StoredChange: self._stored,
        }

    def committed(self) -> None:
        """What was written last is in the file."""
        self._is_open = False

    def write(self, session: WriteSession, entries: Sequence[Entry]) -> None:
        if self._is_open:
            # The last transaction failed: its numbers are free again, and nothing may lean on its snapshots.
            self._numbers = Numbers(session)
            self._packer.restart()
        self._is_open = True
        by_kind: defaultdict[type[Entry], list[Any]] = defaultdict(list)
        for entry in entries:
            by_kind[type(entry)].append(entry)
        for kind, of_kind in by_kind.items():
            self._writers[kind](session, of_kind)

    def _sessions(self, session: WriteSession, records: list[SessionRecord]) -> None:
        newest = {record.name: record for record in records}
        statement = insert(_table(SessionRow))
        told = {column.name: statement.excluded[column.name] for column in _table(SessionRow).columns}
        del told["name"], told["first_seen_at"]
        _insert(session, statement.on_conflict_do_update(["name"], set_=told), newest.values(), rows.session_row)

    def _requests(self, session: WriteSession, records: list[RequestRecord]) -> None:
        named = {record.session: record for record in records if record.session is not None}
        statement, table = insert(_table(SessionRow)), _table(SessionRow)
        last_used_at = func.max(table.c.last_used_at, statement.excluded.last_used_at)
        statement = statement.on_conflict_do_update(["name"], set_={"last_used_at": last_used_at})
        _insert(session, statement, named.values(), rows.session_of)
        # An id that comes twice is a client's own: the last one stands.
        numbered = list(enumerate({record.id: record for record in records}.values(), self._numbers.request))
        self._numbers.request += len(numbered)
        replace = insert(_table(RequestRow)).prefix_with("OR REPLACE")
        _insert(session, replace, numbered, lambda one: rows.request_row(*one))
        ranges = ((number, one) for number, record in numbered for one in record.ranges)
        _insert(session, insert(_table(RangeRow)), ranges, lambda one: rows.range_row(*one))

    def _evictions(self, session: WriteSession, records: list[EvictionRecord]) -> None:
        _insert(session, insert(_table(EvictionRow)), records, rows.eviction_row)

    def _actions(self, session: WriteSession, records: list[ActionRecord]) -> None:
        _insert(session, insert(_table(ActionRow)), records, rows.action_row)

    def _policies(self, session: WriteSession, records: list[PolicyRecord]) -> None:
        _insert(session, insert(_table(PolicyRow)), records, rows.policy_row)

    def _snapshots(self, session: WriteSession, records: list[SnapshotRecord]) -> None:
        for record in records:
            packed = self._packer.pack(record.status)
            number = self._numbers.snapshot
            self._numbers.snapshot += 1
            base = None if packed.is_base else self._base
            self._base = number if packed.is_base else self._base
            row = {"number": number, "at": record.at, "base": base, "body": packed.body}
            session.execute(insert(_table(SnapshotRow)), [row])

    def _stored(self, session: WriteSession, changes: list[StoredChange]) -> None:
        last = {(change.shelf, change.id): change for change in changes}
        for shelf, row in ((Shelf.ITEMS, StoredItemRow), (Shelf.ENTRIES, StoredEntryRow)):
            of_shelf = [change for (its, _), change in last.items() if its is shelf]
            table = _table(row)
            gone = [change.id for change in of_shelf if change.body is None]
            for some in _some(gone):
                session.execute(delete(table).where(table.c.id.in_(some)))
            put = [change for change in of_shelf if change.body is not None]
            _insert(session, insert(table).prefix_with("OR REPLACE"), put, self._stored_row)

    def _stored_row(self, change: StoredChange) -> rows.Row:
        row: rows.Row = {"id": change.id, "body": change.body}
        if change.shelf is Shelf.ENTRIES:
            row["number"] = self._numbers.stored
            self._numbers.stored += 1
        return row


def _insert(session: WriteSession, statement: Insert, told: Any, row_of: Callable[[Any], rows.Row]) -> None:
    for some in _some(told):
        session.execute(statement, [row_of(one) for one in some])


def _some(told: Any) -> Iterator[list[Any]]:
    remaining = iter(told)
    while some := list(islice(remaining, ROWS_AT_ONCE)):
        yield some


def _table(row: type[Base]) -> Table:
    table = row.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{row.__name__} is no table")
    return table


def _after(session: WriteSession, column: Any) -> int:
    return int(session.scalar(select(func.max(column))) or 0) + 1
