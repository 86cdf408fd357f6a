"""In which order a prefill server takes the requests that wait for it: the box's own queue, and the simulator's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

Rank = tuple[float, ...]

IN_TURN_GAP_SECONDS = 30.0
"""A request that comes so soon after the last response belongs to the same turn: a tool was called, nobody thought."""

PATIENCE_SECONDS: Mapping[QueueOrder, float]


class Waiting(NamedTuple):
    request: int
    arrival_seconds: float
    gap_seconds: float
    """Since the session's last response; infinite for a first request."""

    @property
    def is_in_turn(self) -> bool:
        """As far as a trace tells: it knows when a request came, and not what it held."""
        return self.gap_seconds < IN_TURN_GAP_SECONDS


class QueueOrder(StrEnum):
    FIRST_COME = "first-come"
    LEAST_MISSING = "least-missing"
    """The one with the fewest tokens to compute; who waits 120 s goes first."""
    IN_TURN = "in-turn"
    """Sessions amid a turn, least missing first; then new turns as they came; who waits 300 s goes first."""


PATIENCE_SECONDS = {QueueOrder.LEAST_MISSING: 120.0, QueueOrder.IN_TURN: 300.0}


def rank(order: QueueOrder, *, arrival_seconds: float, is_in_turn: bool, missing_tokens: int) -> Rank:
    """The lowest goes first among those of one importance, once nobody has lost patience."""
    if order is QueueOrder.FIRST_COME or (order is QueueOrder.IN_TURN and not is_in_turn):
        return (1, arrival_seconds)
    return (0, missing_tokens, arrival_seconds)


def is_overdue(order: QueueOrder, waited_seconds: float) -> bool:
    """Who has waited so long goes first, and of several the one that came first."""
    return waited_seconds > PATIENCE_SECONDS.get(order, 0.0)


def choose(
    queue: list[Waiting], order: QueueOrder, now_seconds: float, missing_tokens: Callable[[int], int]
) -> Waiting:
    """Whom to serve now. The queue is in the order of arrival, has at least one entry, and is not changed."""
    first = queue[0]
    if is_overdue(order, now_seconds - first.arrival_seconds):
        return first
    in_turn = [waiting for waiting in queue if waiting.is_in_turn] if order is QueueOrder.IN_TURN else queue
    return min(in_turn or queue[:1], key=lambda waiting: _rank(waiting, order, missing_tokens))


def _rank(waiting: Waiting, order: QueueOrder, missing_tokens: Callable[[int], int]) -> Rank:
    return rank(
        order,
        arrival_seconds=waiting.arrival_seconds,
        is_in_turn=waiting.is_in_turn,
        missing_tokens=missing_tokens(waiting.request),
    )
