"""Where an arena's files are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ArenaPlace(NamedTuple):
    """`memory` begins the names of the two files in shared memory, `locks` those of the locks, in any folder.

    What is in shared memory is seen mapped in its users and found so after a crash; a lock dies with its holder.
    """

    memory: Path
    locks: Path

    @property
    def index_file(self) -> Path:
        return self.memory.with_name(f"{self.memory.name}.index")

    @property
    def rows_file(self) -> Path:
        return self.memory.with_name(f"{self.memory.name}.rows")

    @property
    def lock_file(self) -> Path:
        return self.locks.with_name(f"{self.locks.name}.lock")

    def owner_file(self, number: int) -> Path:
        """Every living process of this owner holds a shared lock on it."""
        return self.locks.with_name(f"{self.locks.name}.owner-{number}")

    def remove(self) -> None:
        """Who has the files mapped keeps the memory, nobody new finds it. A no-op for what is not there."""
        for path in (self.index_file, self.rows_file, self.lock_file, *map(self.owner_file, range(MAX_OWNERS))):
            path.unlink(missing_ok=True)


MAX_OWNERS = 32
"""Engines that may be in an arena at a time, those counted that ended and were not reaped yet."""
