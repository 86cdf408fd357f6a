"""A trace replayed with its users waiting for their answers: what is not in the cache delays everything after it.

One server computes prompts, one at a time; answers then take as long as recorded, side by side, and hold their blocks.
A user's next request comes as long after the answer as it was recorded to. All memory counts, also that of running
requests. Blocks of waiting requests are evicted last, if `protects_waiting`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.contender import Contender
from appliance.cache.forecast import Forecast
from appliance.cache.queue_order import QueueOrder, Waiting, choose
from appliance.cache.replay import PROGRESS_EVERY, Progress
from appliance.cache.simulated_pool import SimulatedPool, Slots
from appliance.cache.trace import Trace

_ARRIVES, _ENDS = 0, 1

WARM_UP_SHARE, MEASURED_UNTIL_SHARE = 0.15, 0.85
"""Of the requests in the order of arrival: what is measured lies between, and goes on until the last session begins."""


class LoopResult(NamedTuple):
    hit_tokens: int
    prompt_tokens: int
    mean_delay_seconds: float
    """Waiting and computing: what a request has not that finds its prompt in the cache and nobody in the queue."""
    p95_delay_seconds: float
    requests_per_hour: float
    prefill_tokens: int
    unplaced_blocks: int
    """Of prompts that found no room because running requests held everything."""

    @property
    def hit_rate(self) -> float:
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(slots=True)
class _Served:
    """One entry a request."""

    arrival_seconds: NDArray[np.float64]
    delay_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    hit_blocks: NDArray[np.int64]


@dataclass(slots=True)
class _Loop:
    trace: Trace
    pool: SimulatedPool
    order: QueueOrder
    prefill_tokens_per_second: float
    protects_waiting: bool
    served: _Served
    followers: dict[int, list[int]]
    events: list[tuple[float, int, int]] = field(default_factory=list)
    """A heap of (time, kind, request)."""
    queue: list[Waiting] = field(default_factory=list)
    awaited: dict[int, Slots] = field(default_factory=dict)
    server_free_seconds: float = 0.0
    unplaced_blocks: int = 0

    def step(self) -> bool:
        """Handles the next thing that happens; tells whether a request ended."""
        is_server_next = bool(self.queue) and (not self.events or self.server_free_seconds <= self.events[0][0])
        if is_server_next:
            self._serve(max(self.server_free_seconds, self.queue[0].arrival_seconds))
            return False
        now_seconds, kind, request = heapq.heappop(self.events)
        if kind == _ARRIVES:
            self._arrive(request, now_seconds)
            return False
        self.pool.end(request, now_seconds)
        for follower in self.followers.get(request, []):
            gap_seconds = float(self.trace.arrival_seconds[follower] - self.trace.end_seconds[request])
            heapq.heappush(self.events, (now_seconds + max(gap_seconds, 0.0), _ARRIVES, follower))
        return True

    def _arrive(self, request: int, now_seconds: float) -> None:
        previous = int(self.trace.after[request])
        is_same_session = previous >= 0 and self.trace.session[previous] == self.trace.session[request]
        gap_seconds = now_seconds - float(self.served.end_seconds[previous]) if is_same_session else float("inf")
        self.served.arrival_seconds[request] = now_seconds
        self.server_free_seconds = max(self.server_free_seconds, now_seconds)
        self.queue.append(Waiting(request, now_seconds, gap_seconds))
        self.pool.arrive(request, now_seconds)
        if self.protects_waiting:
            self.awaited[request] = self.pool.wait(request)

    def _serve(self, now_seconds: float) -> None:
        chosen = choose(self.queue, self.order, now_seconds, self._missing_tokens)
        self.queue.remove(chosen)
        request = chosen.request
        placement = self.pool.begin(request, now_seconds)
        if self.protects_waiting:
            self.pool.unwait(self.awaited.pop(request))
        found_tokens = placement.hit_blocks * self.trace.block_tokens
        missing_tokens = max(0, int(self.trace.prompt_tokens[request]) - found_tokens)
        self.server_free_seconds = now_seconds + missing_tokens / self.prefill_tokens_per_second
        answer_seconds = float(self.trace.end_seconds[request] - self.trace.arrival_seconds[request])
        self.served.hit_blocks[request] = placement.hit_blocks
        self.served.delay_seconds[request] = self.server_free_seconds - chosen.arrival_seconds
        self.served.end_seconds[request] = self.server_free_seconds + answer_seconds
        self.unplaced_blocks += placement.unplaced_blocks
        heapq.heappush(self.events, (float(self.served.end_seconds[request]), _ENDS, request))

    def _missing_tokens(self, request: int) -> int:
        return int(self.trace.prompt_tokens[request]) - self.pool.resident_prefix(request) * self.trace.block_tokens


def run_closed_loop(
    trace: Trace,
    contender: Contender,
    capacity_blocks: int,
    *,
    order: QueueOrder,
    prefill_tokens_per_second: float,
    protects_waiting: bool = True,
    forecast: Forecast | None = None,
    progress: Progress = lambda _: None,
) -> LoopResult:
    """One contender with one capacity and one order of the queue."""
    count = len(trace)
    loop = _Loop(
        trace,
        SimulatedPool(trace, contender, capacity_blocks, forecast),
        order,
        prefill_tokens_per_second,
        protects_waiting,
        _Served(np.zeros(count), np.zeros(count), np.zeros(count), np.zeros(count, dtype=np.int64)),
        _followers(trace),
    )
    loop.events = [(float(trace.arrival_seconds[first]), _ARRIVES, first) for first in _firsts(trace)]
    heapq.heapify(loop.events)
    ended = 0
    while loop.events or loop.queue:
        ended += loop.step()
        if ended == PROGRESS_EVERY:
            progress(ended)
            ended = 0
    progress(ended)
    return _summary(trace, loop)


def _firsts(trace: Trace) -> list[int]:
    return [int(request) for request in np.flatnonzero(trace.after < 0)]


def _followers(trace: Trace) -> dict[int, list[int]]:
    followers: dict[int, list[int]] = {}
    for request, previous in enumerate(trace.after.tolist()):
        followers.setdefault(previous, []).append(request)
    return followers


def _summary(trace: Trace, loop: _Loop) -> LoopResult:
    arrivals = loop.served.arrival_seconds
    _, firsts = np.unique(trace.session, return_index=True)
    begin, until = np.sort(arrivals)[[int(len(arrivals) * share) for share in (WARM_UP_SHARE, MEASURED_UNTIL_SHARE)]]
    end = max(float(arrivals[firsts].max()), float(until))
    measured = (arrivals >= begin) & (arrivals <= end)
    prompt_tokens = trace.prompt_tokens[measured]
    hit_tokens = np.minimum(loop.served.hit_blocks[measured] * trace.block_tokens, prompt_tokens)
    delays = loop.served.delay_seconds[measured]
    hours = (end - begin) / 3600
    return LoopResult(
        hit_tokens=int(hit_tokens.sum()),
        prompt_tokens=int(prompt_tokens.sum()),
        mean_delay_seconds=float(delays.mean()),
        p95_delay_seconds=float(np.percentile(delays, 95)),
        requests_per_hour=float(measured.sum() / hours) if hours > 0 else float("nan"),
        prefill_tokens=int((prompt_tokens - hit_tokens).sum()),
        unplaced_blocks=loop.unplaced_blocks,
    )
