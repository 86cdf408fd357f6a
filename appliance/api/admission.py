"""How many generations may be in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from appliance.api.problems import Overloaded


class Admission:
    """Counts generations in flight, never more than `limit`; `refused` counts those turned away."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.refused = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place. Raises `Overloaded` at once when there is none."""
        if self.in_flight >= self.limit:
            self.refused += 1
            raise Overloaded(f"this box already runs {self.limit} requests, its limit", code="overloaded")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def check_integrity(self) -> None:
        if not 0 <= self.in_flight <= self.limit:
            raise AssertionError(f"{self.in_flight} generations in flight, {self.limit} allowed")
