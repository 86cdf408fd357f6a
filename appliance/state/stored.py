"""Changes of what clients asked to be stored, as they are written to the file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OVERHEAD: Final = 256


class Shelf(StrEnum):
    ITEMS = "items"
    ENTRIES = "entries"


@dataclass(frozen=True, slots=True)
class StoredChange:
    """What stands under this id from now on; without a `body`, nothing. `body` is JSON."""

    shelf: Shelf
    id: str
    body: bytes | None

    @property
    def weight(self) -> int:
        """Bytes, about."""
        return OVERHEAD + len(self.body or b"")
