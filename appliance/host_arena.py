"""The box's hold on its host arena: made by the first engine that comes, kept while the box lives, gone with it."""

from __future__ import annotations

import asyncio
import logging
import mmap
import shutil
from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from appliance.arena_size import ArenaSize
from appliance.cache.arena.index import ArenaIndex, ArenaStats
from appliance.cache.arena.kernels import MISS
from appliance.cache.arena.place import ArenaPlace
from appliance.cache.arena.row_map import RowMap
from appliance.cache.arena.tables import Keys, mapped, short_hashes
from appliance.errors import StartError
from appliance.router.shared_tier import SharedTier
from appliance.session_forecast import SessionForecast

INTERVAL_SECONDS: Final = 0.1
"""So long the router may not know what has come or gone; a worker that loads looks for itself."""
TEND_EVERY: Final = 10
"""Rounds after which the dead are looked for, and keeps told."""


log = logging.getLogger("dynamo_box.host_arena")


class HostArena:
    """Of one box: whoever makes it holds the box's runtime folder. What a box that was killed left is removed."""

    def __init__(
        self,
        place: ArenaPlace,
        tier: SharedTier,
        forecast: SessionForecast | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        is_pinned: bool = False,
    ) -> None:
        """`forecast` says what keeping the blocks of sessions is worth; a session that it forgets is worth nothing.
        `is_pinned`: a GPU's driver holds its memory."""
        place.remove()
        self.place = place
        self.tier = tier
        self._forecast = forecast
        self._expected: set[str] = set()
        self._sleep = sleep
        self._is_pinned = is_pinned
        self._resizing = asyncio.Lock()
        self._index: ArenaIndex | None = None
        self._rows: mmap.mmap | None = None
        self._position = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def stats(self) -> ArenaStats | None:
        """`None` until it is open."""
        return self._index.stats if self._index is not None else None

    @property
    def row_bytes(self) -> int:
        return self._index.geometry.row_bytes if self._index is not None else 0

    def open(self) -> None:
        """Once an engine has made it. With its memory mapped here too it outlives every engine."""
        self._index = ArenaIndex.open(self.place)
        geometry = self._index.geometry
        self._rows = mapped(self.place.rows_file, geometry.num_rows * geometry.row_bytes)

    def start(self) -> None:
        """Open it, and from now on keep the router in step and tend the arena, in the running loop; to be ended with
        `stop`."""
        self.open()
        self._task = asyncio.create_task(self._run(), name="host arena")
        self._task.add_done_callback(_report_end)

    async def stop(self) -> None:
        """When no engine runs any more. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._index is not None:
            self._index.close()
        self._task = self._index = self._rows = None
        self.place.remove()

    async def _run(self) -> None:
        number = 0
        while True:
            self.tell()
            if number % TEND_EVERY == 0:
                self.tend()
            number += 1
            await self._sleep(INTERVAL_SECONDS)

    def tell(self) -> None:
        """What has come and gone since the last time. No-op until open."""
        if self._index is None:
            return
        told = self._index.changes_since(self._position)
        self._position = told.position
        if told.is_whole:
            self.tier.follow(zip(self._short(told.keys), told.is_stored.tolist(), strict=True))
        else:
            keys, self._position = self._index.stored_keys()
            self.tier.restart(self._short(keys))

    def tend(self) -> None:
        """Take back what dead engines hold, say what sessions are worth keeping, and tell workers again that forgot.
        No-op until open."""
        if self._index is not None:
            self._index.reap()
            self._tell_keeps(self._index)
            self.tier.refresh()

    def _tell_keeps(self, index: ArenaIndex) -> None:
        if self._forecast is None:
            return
        keeps = self._forecast.keeps()
        index.set_keeps(keeps)
        index.finish(name for name in self._expected if name not in self._forecast)
        self._expected = {name for name in self._expected if name in self._forecast} | keeps.keys()

    def blocks_of(self, sessions: Iterable[str]) -> dict[str, int]:
        """How many blocks each of these sessions was the last to use, if any."""
        return self._index.blocks_of(sessions) if self._index is not None else {}

    def row_map(self, cells: int, sessions: Iterable[str]) -> RowMap:
        """In a way of its own into the arena, since it takes time linear in its rows: for a thread. Raises `CacheError`
        where there is no arena yet, or no more."""
        index = ArenaIndex.open(self.place)
        try:
            return index.row_map(cells, sessions)
        finally:
            index.close()

    def flush(self) -> int:
        """Drop every block that nobody holds. How many."""
        dropped = self._index.flush() if self._index is not None else 0
        self.tell()
        return dropped

    async def resize(self, num_bytes: int) -> str | None:
        """See `ArenaSize.change`; one at a time. What is not as it was asked for, if anything."""
        async with self._resizing:
            if self._index is None or self._rows is None:
                return "no engine has made it yet"
            size = ArenaSize(self._index, self._rows, self.place.rows_file, is_pinned=self._is_pinned)
            return await size.change(num_bytes)

    def keys_of(self, hashes: Keys) -> Keys:
        """The keys of blocks that engines call so; none until open."""
        return self._index.block_hashes(hashes) if self._index is not None else hashes[:0]

    def lacks(self, keys: Keys) -> bool:
        """Whether any of these blocks is not there."""
        return self._index is not None and bool((self._index.rows_of(keys) == MISS).any())

    def _short(self, keys: Keys) -> list[int]:
        if self._index is None:
            return []
        hashes: list[int] = short_hashes(self._index.block_hashes(keys)).tolist()
        return hashes


def _report_end(task: asyncio.Task[None]) -> None:
    """It ends by being stopped; any other end is logged, since nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)


def arena_place(shared_memory: Path, runtime: Path, num_bytes: int) -> ArenaPlace:
    """Of the box that holds this runtime folder: the next one there finds it under the same name.

    Raises `StartError` for an arena of more than there is at all; what is free the first engine finds out.
    """
    total = shutil.disk_usage(shared_memory).total
    if num_bytes > total:
        raise StartError(
            f"cache.host.bytes is {num_bytes / 2**30:.1f} GiB, and {shared_memory} has {total / 2**30:.1f} GiB",
            hint="Set it lower, or make the shared memory larger: `dynamo-box doctor` says how.",
        )
    name = blake2b(str(runtime.resolve()).encode(), digest_size=6).hexdigest()
    return ArenaPlace(shared_memory / f"dynamo-box-{name}", runtime / "arena")
