"""Requests that have begun and not ended yet."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from appliance.errors import CancelledByOperator
from appliance.request_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator


class RequestPhase(StrEnum):
    """It waits for a place on a worker, its prompt is read there, or its answer comes."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"


class Progress(NamedTuple):
    """How far a request is, `seconds` after it came, of which it waited `queued_seconds`. `worker` is the one it is on,
    or was on last; `cached_tokens` is `None` until an engine has read its prompt."""

    entry: Entry
    phase: RequestPhase
    worker: int | None
    cached_tokens: int | None
    completion_tokens: int
    computed_tokens: int | None
    """Of its prompt and first answer; `None` until the prompt was read."""
    queued_seconds: float
    seconds: float


class Running(Protocol):
    """One of them."""

    def progress(self) -> Progress: ...

    def cancel(self, error: CancelledByOperator) -> None:
        """End it with this, whatever it is at: nothing more is generated, and no event but the error comes."""
        ...


class UnderWay:
    """By the numbers of their entries: a name may come twice."""

    def __init__(self) -> None:
        self._requests: dict[int, Running] = {}
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Running]:
        """In the order in which they began."""
        return iter(tuple(self._requests.values()))

    def names(self) -> list[str]:
        return [*self._names.values()]

    def find(self, name: str) -> Running | None:
        return next((self._requests[number] for number, each in self._names.items() if each == name), None)

    def add(self, entry: Entry, request: Running) -> None:
        self._requests[entry.number], self._names[entry.number] = request, entry.name

    def remove(self, entry: Entry) -> None:
        del self._requests[entry.number], self._names[entry.number]
