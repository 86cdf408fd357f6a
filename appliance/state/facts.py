"""How the file that remembers is doing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StateFacts:
    """`trouble`: why nothing can be written now. Counts are of this box's life, by kind."""

    path: Path
    bytes: int | None
    queued: int
    written: Counter[str]
    dropped: Counter[str]
    refused: Counter[str]
    trouble: str | None
