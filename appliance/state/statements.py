"""The statements that write rows, compiled once for each number of rows.

SQLAlchemy would look at every value of every row otherwise; and sqlite3 hands the interpreter over for each statement,
which costs the serving loop more than a row does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Table, bindparam, func
from sqlalchemy.dialects.sqlite import Insert, dialect, insert

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


def table_of(row: type[Base]) -> Table:
    table = row.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{row.__name__} is no table")
    return table


def _all_columns(row: type[Base]) -> Insert:
    """One parameter a column, in their order."""
    table = table_of(row)
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


class Writing(NamedTuple):
    """A statement before and after its rows, and one row."""

    head: str
    row: str
    tail: str


@lru_cache(maxsize=1024)
def text_of(statement: Writing, num_rows: int) -> str:
    """For so many rows at once; their values follow one another."""
    return statement.head + ", ".join([statement.row] * num_rows) + statement.tail


def _compiled(statement: Insert) -> Writing:
    positional: Any = dialect(paramstyle="qmark")
    head, values, rest = str(statement.compile(dialect=positional)).partition(" VALUES ")
    row, end, tail = rest.partition(")")
    return Writing(head + values, row + end, tail)


def _insert(row: type[Base]) -> Writing:
    return _compiled(_all_columns(row))


def _replace(row: type[Base]) -> Writing:
    return _compiled(_all_columns(row).prefix_with("OR REPLACE"))


def _decision_told() -> Writing:
    """Of what was weighed the newest word stands; when it was and its place stay."""
    statement = _all_columns(DecisionRow)
    return _compiled(statement.on_conflict_do_update(["boot", "number"], set_={"body": statement.excluded.body}))


def _session_told() -> Writing:
    """The newest word stands, but for when it was first seen."""
    statement = _all_columns(SessionRow)
    kept = ("name", "first_seen_at")
    columns = (column.name for column in table_of(SessionRow).columns)
    told = {name: statement.excluded[name] for name in columns if name not in kept}
    return _compiled(statement.on_conflict_do_update(["name"], set_=told))


def _session_used() -> Writing:
    """Of one that is known, no more than that it was used."""
    statement, table = _all_columns(SessionRow), table_of(SessionRow)
    last_used_at = func.max(table.c.last_used_at, statement.excluded.last_used_at)
    return _compiled(statement.on_conflict_do_update(["name"], set_={"last_used_at": last_used_at}))


SESSION_TOLD: Final = _session_told()
SESSION_USED: Final = _session_used()
REQUEST: Final = _replace(RequestRow)
RANGE: Final = _insert(RangeRow)
EVICTION: Final = _insert(EvictionRow)
DECISION: Final = _decision_told()
ACTION: Final = _insert(ActionRow)
POLICY: Final = _insert(PolicyRow)
SNAPSHOT: Final = _insert(SnapshotRow)
VIEW: Final = _insert(ViewRow)
ACCESS: Final = _insert(AccessRow)
STORED_ITEM: Final = _replace(StoredItemRow)
STORED_ENTRY: Final = _replace(StoredEntryRow)
