"""Blocks that waiting requests want: they go last of all."""

from __future__ import annotations

from typing import Final

from appliance.cache.eviction import EvictionCore
from appliance.engine.retention.arrays import Numbers

MOST_WAITING: Final = 4096
"""Requests whose blocks are marked. Those of further ones are not, which is counted."""


class Waiting:
    """By the name of whoever waits, one set of marks each. A mark stays on its block whatever comes to be in it."""

    def __init__(self, core: EvictionCore, most: int = MOST_WAITING) -> None:
        self.num_refused = 0
        self._core = core
        self._most = most
        self._marked: dict[str, Numbers] = {}

    def __len__(self) -> int:
        return len(self._marked)

    def __contains__(self, name: str) -> bool:
        return name in self._marked

    def begin(self, name: str, blocks: Numbers) -> None:
        """What was marked for this name before is marked no longer."""
        self.end(name)
        if not len(blocks):
            return
        if len(self._marked) == self._most:
            self.num_refused += 1
            return
        self._core.wait(blocks)
        self._marked[name] = blocks

    def end(self, name: str) -> None:
        """Nothing happens when nothing is marked for it."""
        blocks = self._marked.pop(name, None)
        if blocks is not None:
            self._core.unwait(blocks)
