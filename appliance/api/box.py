"""The running box as the operator API sees it."""

from __future__ import annotations

from typing import Protocol

from appliance.api.views import BoxStatus


class Box(Protocol):
    """All three answer from memory: they are called in the loop that serves tokens."""

    def status(self) -> BoxStatus: ...

    def is_ready(self) -> bool:
        """Whether a generation request would be taken now."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text format 0.0.4."""
        ...
