"""What is remembered, read back. Everything here blocks: `Database.ask` calls it in a thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from appliance.cache.ledger import TokenRange
from appliance.records import (
    MOST_ACCESSES,
    MOST_BLOCKS,
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
from appliance.state import rows
from appliance.state.engines import ReadSession
from appliance.state.parts import unpack_parts
from appliance.state.snapshots import unpack
from appliance.state.tables import (
    AccessRow,
    ActionRow,
    Base,
    DecisionRow,
    EvictionRow,
    PolicyRow,
    RangeRow,
    RequestRow,
    SessionRow,
    SnapshotRow,
    StoredEntryRow,
    StoredItemRow,
    ViewRow,
)

DEFAULT_LIMIT: Final = 100

Chosen = TypeVar("Chosen", bound=Select[Any])


class Reader:
    """One moment of the file. Lists have the newest first, and at most `limit`; `since` and `until` are seconds since
    1970, the latter exclusive. What does not exist is `None`, or not in the list.

    Long lists are read as plain rows, which takes a third of the time of objects that the session keeps.
    """

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def request(self, request_id: str) -> RequestRecord | None:
        found = self._session.scalars(select(RequestRow).where(RequestRow.id == request_id)).one_or_none()
        return None if found is None else self._with_ranges([found])[0]

    def requests(
        self,
        session: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RequestRecord]:
        wanted = _between(select(RequestRow.__table__), RequestRow.arrived_at, since, until)
        if session is not None:
            wanted = wanted.where(RequestRow.session == session)
        newest = wanted.order_by(RequestRow.arrived_at.desc(), RequestRow.number.desc()).limit(limit)
        return self._with_ranges(cast("Sequence[RequestRow]", self._session.execute(newest).all()))

    def session(self, name: str) -> SessionRecord | None:
        found = self._session.get(SessionRow, name)
        return None if found is None else rows.session_record(found)

    def sessions(self, since: float | None = None, limit: int = DEFAULT_LIMIT) -> list[SessionRecord]:
        """Those that were used, the last first."""
        wanted = _between(select(SessionRow), SessionRow.last_used_at, since, None)
        newest = wanted.order_by(SessionRow.last_used_at.desc()).limit(limit)
        return [rows.session_record(row) for row in self._session.scalars(newest)]

    def evictions(
        self,
        session: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[EvictionRecord]:
        """`session`: whose blocks they were."""
        wanted = _between(select(EvictionRow.__table__), EvictionRow.at, since, until)
        if session is not None:
            wanted = wanted.where(EvictionRow.owner == session)
        newest = wanted.order_by(EvictionRow.at.desc(), EvictionRow.id.desc()).limit(limit)
        return [rows.eviction_record(row) for row in self._session.execute(newest)]

    def decisions(self, until: float | None = None, limit: int = DEFAULT_LIMIT) -> list[DecisionRecord]:
        wanted = _between(select(DecisionRow.__table__), DecisionRow.at, None, until)
        newest = wanted.order_by(DecisionRow.at.desc(), DecisionRow.id.desc()).limit(limit)
        return [rows.decision_record(row) for row in self._session.execute(newest)]

    def actions(
        self, since: float | None = None, limit: int = DEFAULT_LIMIT, until: float | None = None
    ) -> list[ActionRecord]:
        wanted = _between(select(ActionRow), ActionRow.at, since, until)
        newest = wanted.order_by(ActionRow.at.desc(), ActionRow.number.desc()).limit(limit)
        return [rows.action_record(row) for row in self._session.scalars(newest)]

    def policies(self, limit: int = DEFAULT_LIMIT) -> list[PolicyRecord]:
        """As they became active, whatever the clock said: the first is the active one."""
        newest = select(PolicyRow).order_by(PolicyRow.number.desc()).limit(limit)
        return [rows.policy_record(row) for row in self._session.scalars(newest)]

    def snapshot(self, at: float | None = None) -> SnapshotRecord | None:
        """The last one until then; without `at` the newest. Raises `ValueError` for one that is damaged."""
        base = aliased(SnapshotRow)
        wanted = select(SnapshotRow, base.body).outerjoin(base, SnapshotRow.base == base.number)
        if at is not None:
            wanted = wanted.where(SnapshotRow.at <= at)
        newest = wanted.order_by(SnapshotRow.at.desc(), SnapshotRow.number.desc()).limit(1)
        found = self._session.execute(newest).first()
        return None if found is None else SnapshotRecord(found[0].at, unpack(found[0].body, found[1]))

    def view(self, name: str, at: float | None = None) -> ViewRecord | None:
        """As `snapshot`."""
        base = aliased(ViewRow)
        wanted = select(ViewRow, base.body).outerjoin(base, ViewRow.base == base.number).where(ViewRow.name == name)
        if at is not None:
            wanted = wanted.where(ViewRow.at <= at)
        found = self._session.execute(wanted.order_by(ViewRow.at.desc(), ViewRow.number.desc()).limit(1)).first()
        return None if found is None else ViewRecord(found[0].at, name, tuple(unpack_parts(found[0].body, found[1])))

    def accesses(
        self, model: str, block_tokens: int, limit: int = MOST_ACCESSES, most_blocks: int = MOST_BLOCKS
    ) -> list[AccessRecord]:
        """The newest ones of one model and size of blocks, the oldest first. Raises `ValueError` for a damaged one."""
        newest = select(func.max(AccessRow.last_block)).scalar_subquery()
        its = (AccessRow.model == model) & (AccessRow.block_tokens == block_tokens)
        wanted = select(AccessRow.__table__).where(its, AccessRow.last_block > newest - most_blocks)
        found = self._session.execute(wanted.order_by(AccessRow.number.desc()).limit(limit)).all()
        return [rows.access_record(row) for row in reversed(found)]

    def stored_items(self) -> dict[str, bytes]:
        """By id."""
        found = self._session.execute(select(StoredItemRow.id, StoredItemRow.body))
        return {item_id: body for item_id, body in found}  # noqa: C416 – rows are not typed as pairs by every SQLAlchemy

    def stored_entries(self) -> list[tuple[str, bytes]]:
        """Ids and bodies, the one that was changed last at the end."""
        wanted = select(StoredEntryRow.id, StoredEntryRow.body).order_by(StoredEntryRow.number)
        return [(entry_id, body) for entry_id, body in self._session.execute(wanted)]

    def counts(self) -> dict[str, int]:
        """Rows of each table. O(rows)."""
        tables = Base.metadata.sorted_tables
        return {table.name: self._session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    def _with_ranges(self, found: Sequence[RequestRow]) -> list[RequestRecord]:
        ranges: defaultdict[int, list[TokenRange]] = defaultdict(list)
        numbers = [row.number for row in found]
        wanted = select(RangeRow.__table__).where(RangeRow.request.in_(numbers))
        for row in self._session.execute(wanted.order_by(RangeRow.request, RangeRow.start)):
            ranges[row.request].append(rows.token_range(cast("RangeRow", row)))
        return [rows.request_record(row, tuple(ranges[row.number])) for row in found]


def _between(wanted: Chosen, time: InstrumentedAttribute[float], since: float | None, until: float | None) -> Chosen:
    if since is not None:
        wanted = wanted.where(time >= since)
    return wanted if until is None else wanted.where(time < until)
