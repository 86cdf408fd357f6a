"""What a policy's rule gives, as an engine takes it."""

from __future__ import annotations

from typing import NamedTuple


class Worth(NamedTuple):
    """`duration_ms` counts from the last use; 0: no end."""

    priority: int
    duration_ms: int
