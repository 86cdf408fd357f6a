"""Connections to the file: one that writes, some that can only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

APPLICATION_ID: Final = 0x64796E62
"""Says in the file's header whose it is: `dynb`."""
BUSY_SECONDS: Final = 2.0
READERS: Final = 4


class WriteSession(Session):
    """A transaction that changes the file; only the writer's thread has them."""


class ReadSession(Session):
    """Sees one moment of the file and cannot change it."""

    def flush(self, objects: Any = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise TypeError("a ReadSession changes nothing")
        super().flush(objects)


def write_engine(path: Path) -> Engine:
    """One connection. A commit is on the disk when it returns."""
    pragmas: dict[str, str | int] = {"foreign_keys": "ON", "synchronous": "FULL", "journal_size_limit": 64 * 2**20}
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "rwc", pragmas.items(), before=("PRAGMA auto_vacuum = INCREMENTAL",)),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        **_JSON,
    )
    event.listen(engine, "begin", _begin("BEGIN IMMEDIATE"))
    return engine


def read_engine(path: Path) -> Engine:
    """A few connections, shared by threads."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "ro", {"query_only": "ON"}.items()),
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        **_JSON,
    )
    event.listen(engine, "begin", _begin("BEGIN"))
    return engine


def _connect(
    path: Path, mode: str, pragmas: Iterable[tuple[str, str | int]], before: Iterable[str] = ()
) -> sqlite3.Connection:
    """SQLAlchemy begins transactions itself: sqlite3 would begin none before a table is made."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for statement in (*before, *(f"PRAGMA {name} = {value}" for name, value in pragmas)):
            connection.execute(statement).close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _begin(statement: str) -> Callable[[Connection], None]:
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    return begin


def json_text(value: object) -> str:
    """As columns of JSON hold it."""
    return msgspec.json.encode(value).decode()


_JSON: Final[Mapping[str, Any]] = {"json_serializer": json_text, "json_deserializer": msgspec.json.decode}
