"""The lock of an arena: of the kernel, so that a dead process holds nothing."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.cache.arena.tables import BUSY, Numbers


class ArenaLock:
    """Not for threads: one process, one caller at a time.

    Whoever holds it notes so in the header. A note that is found means that its writer died in the middle of a change:
    then `mend` runs first.
    """

    def __init__(self, path: Path) -> None:
        # Each process needs a file description of its own, and none that a child inherits.
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The bare lock, for making and opening an arena."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def changing(self, header: Numbers, mend: Callable[[], None]) -> Iterator[None]:
        """An exception inside leaves the note: the next holder mends what was cut short."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            if header[BUSY]:
                mend()
            header[BUSY] = os.getpid()
            yield
            header[BUSY] = 0
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)
