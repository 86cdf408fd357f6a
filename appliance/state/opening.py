"""Opens the file: made if it is not there, brought up to this version, put aside if nothing can be done with it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from appliance.state.engines import APPLICATION_ID, read_engine, write_engine
from appliance.state.faults import Fault, Unusable, fault_of
from appliance.state.migration import migrate, version_of, versions

CHECKED_BYTES: Final = 128 * 2**20
"""Larger files are not read through at every start: what is wrong with them is found when it is met."""
SIDE_FILES: Final = ("", "-wal", "-shm")


class NotOurs(Exception):
    """The file is none that this program can go on with. `kind` becomes part of its name."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(slots=True)
class OpenFile:
    """Held by one process at a time. `words` is what an operator should hear of the opening."""

    path: Path
    writing: Engine
    reading: Engine
    words: list[str]
    _lock: int

    def close(self) -> None:
        self.reading.dispose()
        self.writing.dispose()
        os.close(self._lock)


def open_file(path: Path, now: Callable[[], float] = time.time) -> OpenFile:
    """Raises `Unusable`."""
    lock = _lock(path)
    words: list[str] = []
    try:
        try:
            writing = _opened(path)
        except NotOurs as error:
            words.append(f"{path} {error}: it is kept as {set_aside(path, error.kind, now())}, and a new one is begun")
            writing = _opened(path)
        return OpenFile(path, writing, read_engine(path), words, lock)
    except NotOurs as error:
        os.close(lock)
        raise Unusable(f"{path} {error}") from error
    except BaseException:
        os.close(lock)
        raise


def set_aside(path: Path, kind: str, now: float) -> Path:
    """Under a name beside it, with what belongs to it; nobody may have it open. Raises `Unusable`."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    names = (path.with_name(f"{path.name}.{kind}-{stamp}{count}") for count in ("", *(f"-{n}" for n in range(1, 100))))
    beside = next(name for name in names if not name.exists())
    try:
        for suffix in SIDE_FILES:
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.rename(beside.with_name(beside.name + suffix))
    except OSError as error:
        raise Unusable(f"{path} cannot be put aside: {error.strerror}") from error
    return beside


def _lock(path: Path) -> int:
    """Held until it is closed; it goes with the process. A file of its own: closing any handle of a database would
    take SQLite's locks away."""
    beside = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"{beside} cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Unusable(f"{path} is in use by another box") from error
    return handle


def _opened(path: Path) -> Engine:
    """Raises `NotOurs` or `Unusable`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise Unusable(f"{path} cannot be opened: {error.strerror}") from error
    engine = write_engine(path)
    try:
        _prepare(engine, path)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        fault = fault_of(error)
        if fault in (Fault.DAMAGED, Fault.REFUSED):
            raise NotOurs("damaged", f"{Fault.DAMAGED.value} ({_first_line(error)})") from error
        raise Unusable(f"{path} cannot be used: {fault.value}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(engine: Engine, path: Path) -> None:
    is_new = path.stat().st_size == 0
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if is_new:
            cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif cursor.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise NotOurs("other", "was not written by a box")
        cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        if not is_new and path.stat().st_size <= CHECKED_BYTES:
            verdict = cursor.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise NotOurs("damaged", f"{Fault.DAMAGED.value} ({verdict.splitlines()[-1]})")
        cursor.close()
    finally:
        connection.close()
    with engine.begin() as transaction:
        version, known = version_of(transaction), versions()
        if version is not None and version not in known:
            raise NotOurs("newer", f"is of version {version}, newer than {known[-1]}, the last that this program knows")
        if version != known[-1]:
            migrate(transaction, known[-1])


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).splitlines()[0]
