"""What SQLite says went wrong, in kinds that call for different things."""

from __future__ import annotations

import sqlite3
from enum import Enum
from typing import Final

from sqlalchemy.exc import DBAPIError

from appliance.errors import BoxError


class Unusable(BoxError):
    """The file cannot be written or read now; later it may. `str` names it and says why."""


class Fault(Enum):
    DAMAGED = "it is damaged"
    LOCKED = "another program has locked it"
    FULL = "the disk is full, or a file may not grow further"
    READ_ONLY = "it, or its folder, cannot be written"
    FAILED = "the disk failed"
    REFUSED = "it does not take these rows"


_FAULTS: Final = {
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Fault.READ_ONLY,
    sqlite3.SQLITE_PERM: Fault.READ_ONLY,
    sqlite3.SQLITE_IOERR: Fault.FAILED,
    sqlite3.SQLITE_NOLFS: Fault.FULL,
}


def fault_of(error: Exception) -> Fault:
    """What is not about the file is about the rows."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return Fault.REFUSED if code is None else _FAULTS.get(code & 0xFF, Fault.REFUSED)
