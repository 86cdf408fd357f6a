"""Blocks that are known to be in a store."""

from __future__ import annotations

from typing import Final

from appliance.cache.arena.tables import Keys

MAX_KNOWN: Final = 1 << 16
"""Of others the store is asked before they are written."""


class Known:
    """The newest `most`. One that the store has dropped meanwhile is not written again until it is forgotten here."""

    def __init__(self, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._keys: dict[bytes, None] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, keys: Keys) -> None:
        for key in keys:
            name = key.tobytes()
            self._keys.pop(name, None)
            self._keys[name] = None
        while len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]

    def discard(self, keys: Keys) -> None:
        for key in keys:
            self._keys.pop(key.tobytes(), None)
