"""A copy of the file in one moment, whether or not a box writes it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from appliance.errors import BoxError
from appliance.state.engines import APPLICATION_ID

BUSY_SECONDS = 10.0


class BackupFailed(BoxError):
    """Names the file and says why. What stood at the target before still stands there."""


def back_up(source: Path, target: Path) -> int:
    """Bytes of the copy, which is sound, complete and its owner's alone. Writers of the source do not wait. Raises
    `BackupFailed`."""
    if not source.is_file():
        raise BackupFailed(f"{source}: no such file", hint="A box makes it when it runs for the first time.")
    if target.is_dir():
        raise BackupFailed(f"{target} is a folder", hint="Name the file that the copy is to become.")
    if target.exists() and target.samefile(source):
        raise BackupFailed(f"{target} is the file that is to be copied")
    beside = target.with_name(f"{target.name}.new")
    try:
        _copy(source, beside)
        beside.replace(target)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BackupFailed(f"{source} could not be copied to {target}: {error}") from error
    return target.stat().st_size


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as reading,
        contextlib.closing(sqlite3.connect(target)) as writing,
    ):
        reading.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        # In one step: what is written meanwhile would make it begin anew, and in WAL mode it holds nobody up.
        reading.backup(writing)
        # A copy has no readers beside it: one file is all of it.
        writing.execute("PRAGMA journal_mode = DELETE")
        if writing.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise sqlite3.DatabaseError("it was not written by a box")
        verdict = writing.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {verdict}")
