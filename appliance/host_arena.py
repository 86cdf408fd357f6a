"""The box's hold on its host arena: made by the first engine that comes, kept while the box lives, gone with it."""

from __future__ import annotations

import mmap
from hashlib import blake2b
from pathlib import Path

from appliance.cache.arena.index import ArenaIndex, ArenaStats
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.tables import mapped


class HostArena:
    """Of one box: whoever makes it holds the box's runtime folder. What a box that was killed left is removed."""

    def __init__(self, place: ArenaPlace) -> None:
        place.remove()
        self._place = place
        self._index: ArenaIndex | None = None
        self._rows: mmap.mmap | None = None

    def open(self) -> None:
        """Once an engine has made it. With its memory mapped here too it outlives every engine."""
        self._index = ArenaIndex.open(self._place)
        geometry = self._index.geometry
        self._rows = mapped(self._place.rows_file, geometry.num_rows * geometry.row_bytes)

    @property
    def stats(self) -> ArenaStats | None:
        """`None` until it is open."""
        return self._index.stats if self._index is not None else None

    @property
    def row_bytes(self) -> int:
        return self._index.geometry.row_bytes if self._index is not None else 0

    def tend(self, keeps: dict[str, float]) -> None:
        """Each second: take back what dead engines hold, and say what sessions are worth keeping. No-op until open."""
        if self._index is not None:
            self._index.reap()
            if keeps:
                self._index.set_keeps(keeps)

    def close(self) -> None:
        """When no engine runs any more. Idempotent."""
        if self._index is not None:
            self._index.close()
        self._index = self._rows = None
        self._place.remove()


def arena_place(shared_memory: Path, runtime: Path) -> ArenaPlace:
    """Of the box that holds this runtime folder: the next one there finds it under the same name."""
    name = blake2b(str(runtime.resolve()).encode(), digest_size=6).hexdigest()
    return ArenaPlace(shared_memory / f"dynamo-box-{name}", runtime / "arena")
