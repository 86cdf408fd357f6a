"""In which order a prefill server takes the requests that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

IN_TURN_GAP_SECONDS = 30.0
"""A request that comes so soon after the last response belongs to the same turn: a tool was called, nobody thought."""

PATIENCE_SECONDS: Mapping[QueueOrder, float]


class Waiting(NamedTuple):
    request: int
    arrival_seconds: float
    gap_seconds: float
    """Since the session's last response; infinite for a first request."""


class QueueOrder(StrEnum):
    FIRST_COME = "first-come"
    LEAST_MISSING = "least-missing"
    """The one with the fewest tokens to compute; who waits 120 s goes first."""
    IN_TURN = "in-turn"
    """Sessions amid a turn, least missing first; then new turns as they came; who waits 300 s goes first."""


PATIENCE_SECONDS = {QueueOrder.LEAST_MISSING: 120.0, QueueOrder.IN_TURN: 300.0}


def choose(
    queue: list[Waiting], order: QueueOrder, now_seconds: float, missing_tokens: Callable[[int], int]
) -> Waiting:
    """Whom to serve now. The queue is in the order of arrival, has at least one entry, and is not changed."""
    first = queue[0]
    if order is QueueOrder.FIRST_COME or now_seconds - first.arrival_seconds > PATIENCE_SECONDS[order]:
        return first
    eligible = queue
    if order is QueueOrder.IN_TURN:
        eligible = [waiting for waiting in queue if waiting.gap_seconds < IN_TURN_GAP_SECONDS]
        if not eligible:
            return first
    return min(eligible, key=lambda waiting: missing_tokens(waiting.request))
