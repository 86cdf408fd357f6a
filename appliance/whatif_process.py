"""A process of its own that replays a box's record with other policies: `python -m appliance.whatif_process`.

Standard input is a question and the record in frames (`whatif_wire.py`), standard output JSON, one line for each piece
of progress and one for the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from appliance.access_log import Served, whole_entries
from appliance.cache.contender import LRU, Contender, read_contender
from appliance.cache.errors import CacheError
from appliance.cache.eviction_facts import Order
from appliance.cache.policy_source import parse_policy
from appliance.cache.routed_replay import Pace, WorkerRecord, routed_replay, steps
from appliance.cache.trace import Access, build_trace
from appliance.whatif_wire import QUESTIONS, ROWS, Measured, Question, Told, entry_of, read_frames

Say = Callable[[Told], None]

NICENESS: Final = 15
LEAST_WARM_UP: Final = 0.25
"""Of the requests: where fewer came before the time that is asked about, so many of it fill the caches instead."""


def main() -> int:
    os.nice(NICENESS)
    frames = read_frames(sys.stdin.buffer)
    try:
        question = QUESTIONS.decode(next(frames))
        rows = [*whole_entries(map(entry_of, map(ROWS.decode, frames)))]
    except (EOFError, msgspec.DecodeError):
        return 1
    try:
        answer(question, rows, _say)
    except CacheError as error:
        _say(Told(error=error.message))
    return 0


def answer(question: Question, rows: Sequence[Served], say: Say) -> None:
    """Raises `CacheError`."""
    contenders = contenders_of(question)
    measured_from = begin(question, rows)
    records = records_of(question, rows, measured_from)
    progress = Progress(steps(records, contenders), say)
    pace = Pace(question.fixed_seconds, question.seconds_per_token)
    outcomes = routed_replay(records, contenders, pace, progress.advance)
    say(Told(measured=measured_of(rows, measured_from), outcomes=outcomes))


class Progress:
    """Says each hundredth of so many steps."""

    def __init__(self, of: int, say: Say) -> None:
        self._of = of
        self._say = say
        self._done = self._said = 0

    def advance(self, requests: int) -> None:
        self._done += requests
        if (self._done - self._said) * 100 >= self._of:
            self._said = self._done
            self._say(Told(self._done, self._of))


def contenders_of(question: Question) -> list[Contender]:
    """The policies in their order, and LRU."""
    policies = [parse_policy(name, text) for name, text in question.policies]
    return [
        *(Contender(policy.name, policy, is_forecast=policy.order is Order.FORECAST) for policy in policies),
        read_contender(LRU),
    ]


def begin(question: Question, rows: Sequence[Served]) -> float:
    """From when on requests count."""
    arrivals = np.sort([row.access.arrival_seconds for row in rows])
    before = int(np.searchsorted(arrivals, question.measured_from))
    warm_up = int(len(arrivals) * LEAST_WARM_UP)
    return question.measured_from if before >= warm_up or not len(arrivals) else float(arrivals[warm_up])


def records_of(question: Question, rows: Sequence[Served], measured_from: float) -> list[WorkerRecord]:
    """Of workers whose capacity is known."""
    by_worker: dict[int, list[Access]] = {worker: [] for worker in question.capacities}
    for row in rows:
        if row.worker in by_worker:
            by_worker[row.worker].append(row.access)
    return [
        WorkerRecord(worker, question.capacities[worker], build_trace(accesses, question.block_tokens), measured_from)
        for worker, accesses in by_worker.items()
        if accesses
    ]


def measured_of(rows: Sequence[Served], measured_from: float) -> Measured:
    counted = [row for row in rows if row.access.arrival_seconds >= measured_from]
    end = max((row.access.arrival_seconds for row in counted), default=measured_from)
    return Measured(
        len(counted),
        len(rows) - len(counted),
        end - measured_from,
        sum(row.access.prompt_tokens for row in counted),
        sum(row.read_tokens for row in counted),
    )


def _say(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
