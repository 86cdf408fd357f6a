"""Makes the host arena of a running box smaller, and larger again up to what it was started with."""

from __future__ import annotations

import asyncio
import mmap
import os
from pathlib import Path
from typing import Final

import numpy as np

from appliance.cache.arena.index import ArenaIndex

STEP_BYTES: Final = 2**21
"""Of rows taken out of use or put into it at a time: giving memory back or asking for it holds up the serving loop."""


class ArenaSize:
    """Of an arena whose rows are in `rows_file`, mapped as `memory`. `is_pinned`: a GPU's driver holds that memory."""

    def __init__(self, index: ArenaIndex, memory: mmap.mmap, rows_file: Path, *, is_pinned: bool) -> None:
        self._index = index
        self._memory = memory
        self._rows_file = rows_file
        self._is_pinned = is_pinned
        self._row_bytes = index.geometry.row_bytes
        self._step = max(1, STEP_BYTES // self._row_bytes)

    async def change(self, num_bytes: int) -> str | None:
        """To as many rows as fit into so many bytes, one at least. What is not as it was asked for, if anything."""
        wanted = max(1, num_bytes // self._row_bytes)
        most = self._index.geometry.num_rows
        left = await self._shrink(wanted) or await self._grow(min(wanted, most))
        if left is None and wanted > most:
            started = most * self._row_bytes / 2**30
            return f"it was started with {started:.2f} GiB and cannot be larger: set cache.host.bytes and start again"
        return left

    async def _shrink(self, wanted: int) -> str | None:
        has_shrunk = False
        while (excess := self._index.stats.rows - wanted) > 0:
            rows = self._index.retire(min(self._step, excess))
            if not len(rows):
                return f"{excess} more blocks are in use just now; ask again later"
            has_shrunk = True
            self._give_back(rows)
            await asyncio.sleep(0)
        if has_shrunk and self._is_pinned:
            return "the memory stays with the engines, which have it pinned for the GPU, until the box starts again"
        return None

    async def _grow(self, wanted: int) -> str | None:
        file = os.open(self._rows_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            while (lack := wanted - self._index.stats.rows) > 0:
                rows = self._index.retired()[: min(self._step, lack)]
                if not self._is_pinned:
                    for row in rows.tolist():
                        os.posix_fallocate(file, row * self._row_bytes, self._row_bytes)
                self._index.reinstate(rows)
                await asyncio.sleep(0)
        except OSError as error:
            return f"there is no memory for {lack} more blocks: {error.strerror}"
        finally:
            os.close(file)
        return None

    def _give_back(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        if not self._is_pinned:
            for row in rows.tolist():
                self._memory.madvise(mmap.MADV_REMOVE, row * self._row_bytes, self._row_bytes)
