"""The versions of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, table

from appliance.state.backlog import Entry
from appliance.state.batch import Batches
from appliance.state.engines import WriteSession, write_engine
from appliance.state.migration import migrate, version_of, versions
from appliance.state.stored import Shelf, StoredChange
from appliance.state.tables import Base
from tests.unit.state.remembered import access, action, decision, eviction, policy, request, session, snapshot, view


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = write_engine(tmp_path / "state.db")
    yield engine
    engine.dispose()


def fill(engine: Engine) -> None:
    with WriteSession(engine) as writing, writing.begin():
        stored = [StoredChange(Shelf.ITEMS, "i", b"{}"), StoredChange(Shelf.ENTRIES, "e", b"{}")]
        told: list[Entry] = [
            session(),
            request(),
            eviction(),
            decision(),
            action(),
            policy(),
            snapshot(),
            snapshot(101.0),
        ]
        Batches(writing).write(writing, [*told, view(), view(101.0), access(), *stored])


def rows(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        names = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        return {name: connection.scalar(select(func.count()).select_from(table(name))) or 0 for name in names}


def shape(engine: Engine) -> dict[str, list[str]]:
    with engine.connect() as connection:
        told = inspect(connection)
        return {name: [column["name"] for column in told.get_columns(name)] for name in told.get_table_names()}


def test_the_newest_version_is_what_the_tables_say(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, versions()[-1])
        assert version_of(connection) == versions()[-1]
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_filled_file_goes_down_and_up_and_keeps_what_both_versions_know(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, versions()[-1])
    fill(engine)
    filled, newest = rows(engine), shape(engine)
    assert filled
    assert all(filled.values())
    for version in reversed(versions()[:-1]):
        with engine.begin() as connection:
            migrate(connection, version)
        assert rows(engine).items() <= filled.items()
        assert shape(engine) != newest
    for version in versions()[1:]:
        with engine.begin() as connection:
            migrate(connection, version)
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
    assert rows(engine) == filled | {"stored_items": 0, "stored_entries": 0, "accesses": 0, "decisions": 0, "views": 0}
    with engine.begin() as connection:
        migrate(connection, "base")
    assert rows(engine) == {}


def test_a_migration_that_fails_leaves_the_version_before(engine: Engine) -> None:
    with engine.begin() as connection:
        migrate(connection, versions()[0])
        connection.exec_driver_sql("CREATE TABLE stored_items (x)")
    with pytest.raises(Exception, match="stored_items"), engine.begin() as connection:
        migrate(connection, versions()[-1])
    with engine.connect() as connection:
        assert version_of(connection) == versions()[0]
        assert "stored_entries" not in inspect(connection).get_table_names()


def test_versions_are_in_one_line() -> None:
    assert versions() == sorted(versions())
    assert sqlite3.sqlite_version_info >= (3, 35), "RETURNING and upserts"
