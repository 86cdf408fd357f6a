"""The newest decisions, by request, with what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from appliance.router.decision import Reason
from appliance.router.errors import IntegrityError
from appliance.router.regret import Outcome, outcome_of
from appliance.router.scoring import Candidate

MOST_DECISIONS = 1024
"""With eight workers each takes some 5 KB."""


@dataclass(slots=True, eq=False)
class Record:
    """One admitted decision, without its hashes. `at_seconds` is by the router's clock; `outcome` is `None` until the
    first token. `number` counts from 1, when it has been added."""

    request_id: str | None
    at_seconds: float
    worker: int
    reason: Reason
    prompt_tokens: int
    candidates: tuple[Candidate, ...]
    outcome: Outcome | None = None
    number: int = 0


@dataclass(slots=True)
class Settled:
    """Decisions whose first token came, how many of these another worker would have answered sooner, by how much in
    sum, and `Outcome.missed_tokens`."""

    decisions: int = 0
    regretted: int = 0
    regret_seconds: float = 0.0
    missed_tokens: int = 0

    def add(self, outcome: Outcome) -> None:
        self.decisions += 1
        self.regretted += outcome.regret_seconds > 0
        self.regret_seconds += outcome.regret_seconds
        self.missed_tokens += outcome.missed_tokens


@dataclass(slots=True)
class Totals:
    """Since the start. What is known of outcomes is summed over all decisions that are `settled`, and over those of
    each reason."""

    decisions: int = 0
    settled: Settled = field(default_factory=Settled)
    by_reason: dict[Reason, Settled] = field(default_factory=dict)


class History:
    """A ring of the newest `most` records. A request that went on at another worker has several, in order."""

    def __init__(self, most: int = MOST_DECISIONS) -> None:
        self.totals = Totals()
        self.on_told: Callable[[Record], None] = lambda _record: None
        """Called with each record when it is added, and again when it is settled."""
        self._most = most
        self._records: deque[Record] = deque()
        self._of_request: dict[str, list[Record]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """The oldest goes when there is no room."""
        if len(self._records) == self._most:
            self._drop(self._records.popleft())
        self._records.append(record)
        self.totals.decisions += 1
        record.number = self.totals.decisions
        if record.request_id is not None:
            self._of_request.setdefault(record.request_id, []).append(record)
        self.on_told(record)

    def settle(self, record: Record, *, cached_tokens: int, wait_seconds: float) -> None:
        """The first token came. Also for a record that is no longer here."""
        outcome = record.outcome = outcome_of(
            record.candidates,
            record.worker,
            prompt_tokens=record.prompt_tokens,
            cached_tokens=cached_tokens,
            wait_seconds=wait_seconds,
        )
        self.totals.settled.add(outcome)
        self.totals.by_reason.setdefault(record.reason, Settled()).add(outcome)
        self.on_told(record)

    def of(self, request_id: str) -> tuple[Record, ...]:
        """The oldest first; empty for a request that is not known, or not any more."""
        return tuple(self._of_request.get(request_id, ()))

    def newest(self, most: int) -> tuple[Record, ...]:
        """At most so many, the newest first."""
        return tuple(islice(reversed(self._records), most))

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when it cannot find what it has, or has more than it may. Does not mutate."""
        found = [record for records in self._of_request.values() for record in records]
        named = [record for record in self._records if record.request_id is not None]
        if len(self._records) > self._most or {*map(id, found)} != {*map(id, named)} or len(found) != len(named):
            raise IntegrityError(f"history: {len(found)} records to be found, {len(named)} of {len(self)} have a name")

    def _drop(self, record: Record) -> None:
        if record.request_id is None:
            return
        records = self._of_request[record.request_id]
        records.remove(record)
        if not records:
            del self._of_request[record.request_id]
