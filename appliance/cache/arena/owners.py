"""Who is in an arena, and who is no more: an owner is an engine with all its processes.

Each process of an owner holds a shared lock on the owner's file for as long as it lives. Only when none does is the
owner dead: a worker goes on writing rows for seconds after its scheduler was killed (measured: 5 s).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import numpy as np

from appliance.cache.arena.place import MAX_OWNERS, ArenaPlace
from appliance.cache.arena.tables import EPOCH, IN_USE, SECOND_TOKEN, TOKEN, Numbers
from appliance.cache.errors import CacheError

TOKEN_BYTES = 16


class Owners:
    """To be used under the arena's lock."""

    def __init__(self, place: ArenaPlace, table: Numbers) -> None:
        self._place = place
        self._table = table
        self._files: dict[int, int] = {}

    def find(self, token: bytes) -> int | None:
        """The owner of this token. All processes of one start of an engine have the same, no two starts do."""
        words = np.frombuffer(token, np.int64, 2)
        same = (self._table[:, [TOKEN, SECOND_TOKEN]] == words).all(axis=1) & (self._table[:, IN_USE] == 1)
        return int(same.argmax()) if same.any() else None

    def free(self) -> int:
        """A number nobody has. Raises `CacheError` when there is none."""
        unused = np.flatnonzero(self._table[:, IN_USE] == 0)
        if not unused.size:
            raise CacheError(f"arena: {MAX_OWNERS} engines are in it, there is no place for another")
        return int(unused[0])

    def enter(self, owner: int, token: bytes) -> None:
        """The number is this token's from now on."""
        words = np.frombuffer(token, np.int64, 2)
        self._table[owner] = (1, *words, self._table[owner, EPOCH] + 1)

    def live(self, owner: int) -> None:
        """Say that this process is one of the owner's, until it ends or `leave` is called."""
        file = self._open(owner)
        fcntl.flock(file, fcntl.LOCK_SH)
        self._files[owner] = file

    def leave(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def dead(self) -> Iterator[int]:
        """Those of whom no process is left."""
        for owner in np.flatnonzero(self._table[:, IN_USE]).tolist():
            if owner not in self._files and self._is_dead(owner):
                yield owner

    def forget(self, owner: int) -> None:
        self._table[owner, IN_USE] = 0

    def _is_dead(self, owner: int) -> bool:
        file = self._open(owner)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True

    def _open(self, owner: int) -> int:
        return os.open(self._place.owner_file(owner), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
