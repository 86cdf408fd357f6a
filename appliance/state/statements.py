"""The statements that write rows, compiled once: SQLAlchemy would look at every value of every row otherwise, which
takes five times as long as SQLite does."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Table, bindparam, func
from sqlalchemy.dialects.sqlite import Insert, dialect, insert

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


def table_of(row: type[Base]) -> Table:
    table = row.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{row.__name__} is no table")
    return table


def _all_columns(row: type[Base]) -> Insert:
    """One parameter a column, in their order."""
    table = table_of(row)
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


def _compiled(statement: Insert) -> str:
    positional: Any = dialect(paramstyle="qmark")
    return str(statement.compile(dialect=positional))


def _insert(row: type[Base]) -> str:
    return _compiled(_all_columns(row))


def _replace(row: type[Base]) -> str:
    return _compiled(_all_columns(row).prefix_with("OR REPLACE"))


def _session_told() -> str:
    """The newest word stands, but for when it was first seen."""
    statement = _all_columns(SessionRow)
    kept = ("name", "first_seen_at")
    columns = (column.name for column in table_of(SessionRow).columns)
    told = {name: statement.excluded[name] for name in columns if name not in kept}
    return _compiled(statement.on_conflict_do_update(["name"], set_=told))


def _session_used() -> str:
    """Of one that is known, no more than that it was used."""
    statement, table = _all_columns(SessionRow), table_of(SessionRow)
    last_used_at = func.max(table.c.last_used_at, statement.excluded.last_used_at)
    return _compiled(statement.on_conflict_do_update(["name"], set_={"last_used_at": last_used_at}))


SESSION_TOLD: Final = _session_told()
SESSION_USED: Final = _session_used()
REQUEST: Final = _replace(RequestRow)
RANGE: Final = _insert(RangeRow)
EVICTION: Final = _insert(EvictionRow)
ACTION: Final = _insert(ActionRow)
POLICY: Final = _insert(PolicyRow)
SNAPSHOT: Final = _insert(SnapshotRow)
STORED_ITEM: Final = _replace(StoredItemRow)
STORED_ENTRY: Final = _replace(StoredEntryRow)
