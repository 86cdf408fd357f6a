"""Workers without engines: a recorded trace goes through the real router and the real eviction core, step by step.

A step computes the new tokens of prompts, at most `STEP_TOKENS` with one for each running answer, oldest prompt first,
and one token of every running answer. It takes as long as the simulator of ai-dynamo-runtime 1.6.1 says, so that both
can be compared: `prefill_seconds` and `decode_seconds` are its own formulas.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.contender import Contender
from appliance.cache.forecast import Forecast
from appliance.cache.simulated_pool import SimulatedPool
from appliance.cache.trace import Trace
from appliance.router.hashing import Hashes
from appliance.router.index import MAX_WORKERS, Depths, PrefixIndex, Tier
from appliance.router.load import Ticket
from appliance.router.router import Router, RoutingPolicy
from appliance.router.scoring import Room, Scorer

STEP_TOKENS = 8192
MOST_RUNNING = 256
ROOM_SECONDS = 1.0
_ARRIVES, _STEPS = 0, 1


def prefill_seconds(tokens: int) -> float:
    return (4.209989e-7 * tokens * tokens + 1.518344e-2 * tokens + 16.50142) / 1000


def decode_seconds(used_share: float) -> float:
    """One token of every running answer; `used_share` of the KV blocks is held."""
    return (-25.74 * used_share * used_share + 54.01 * used_share + 5.74) / 1000


class Strategy(NamedTuple):
    """How requests find a worker, and what its cache keeps."""

    name: str
    policy: RoutingPolicy
    scorer: Scorer
    contender: Contender


class Served(NamedTuple):
    """One entry a request."""

    first_token_seconds: NDArray[np.float64]
    hit_tokens: NDArray[np.int64]
    router: Router


class PoolIndex(PrefixIndex):
    """What the workers hold of the request that is being routed, as if every event had arrived at once."""

    def __init__(self, pools: Sequence[SimulatedPool]) -> None:
        super().__init__()
        self.request = 0
        self._pools = pools

    def match(self, hashes: Hashes) -> Depths:
        depths = np.zeros((MAX_WORKERS, len(Tier)), np.int64)
        for worker, pool in enumerate(self._pools):
            depths[worker] = min(pool.resident_prefix(self.request), hashes.size)
        return depths


@dataclass(slots=True)
class _Worker:
    pool: SimulatedPool
    capacity_blocks: int
    waiting: deque[int] = field(default_factory=deque)
    reading: int | None = None
    """The request whose prompt is being computed, `left_tokens` of which are missing."""
    left_tokens: int = 0
    read: list[int] = field(default_factory=list)
    """Prompts that this step completes."""
    running: dict[int, int] = field(default_factory=dict)
    """Tokens still to come, by request."""
    is_stepping: bool = False


class SimulatedFleet:
    """`trace` served by `workers` with `capacity_blocks` each, its users waiting for their answers."""

    def __init__(self, trace: Trace, strategy: Strategy, workers: int, capacity_blocks: int) -> None:
        self._trace = trace
        self._now = 0.0
        # It does not learn: a copy of a session would be judged by what its double has taught.
        forecast = Forecast(learns=False)
        self._workers = [
            _Worker(SimulatedPool(trace, strategy.contender, capacity_blocks, forecast), capacity_blocks)
            for _ in range(workers)
        ]
        self._index = PoolIndex([worker.pool for worker in self._workers])
        self._router = Router(
            self._index,
            range(workers),
            strategy.policy,
            block_tokens=trace.block_tokens,
            random=Random(1),  # noqa: S311 – breaks ties
            scorer=strategy.scorer,
            clock=lambda: self._now,
        )
        self._tickets: dict[int, Ticket] = {}
        self._followers: dict[int, list[int]] = {}
        for request, previous in enumerate(trace.after.tolist()):
            self._followers.setdefault(previous, []).append(request)
        self._arrivals = np.zeros(len(trace))
        self._served = Served(np.zeros(len(trace)), np.zeros(len(trace), np.int64), self._router)
        self._events: list[tuple[float, int, int]] = []
        self._room_told = -ROOM_SECONDS

    def run(self) -> Served:
        self._events = [(float(self._trace.arrival_seconds[one]), _ARRIVES, one) for one in self._followers[-1]]
        heapq.heapify(self._events)
        while self._events:
            self._now, kind, number = heapq.heappop(self._events)
            if kind == _ARRIVES:
                self._arrive(number)
            else:
                self._end_step(self._workers[number])
                self._begin_step(number)
        return self._served

    def _arrive(self, request: int) -> None:
        self._tell_room()
        self._arrivals[request] = self._now
        self._index.request = request
        trace = self._trace
        tokens = np.repeat(trace.blocks_of(request).astype(np.uint32), trace.block_tokens)
        session = trace.session_names[trace.session[request]]
        decision = self._router.route(tokens, session_id=session)
        self._tickets[request] = self._router.admit(decision)
        worker = self._workers[decision.worker]
        worker.pool.arrive(request, self._now)
        worker.waiting.append(request)
        if not worker.is_stepping:
            self._begin_step(decision.worker)

    def _tell_room(self) -> None:
        """As the caretaker does, once a second."""
        if self._now < self._room_told + ROOM_SECONDS:
            return
        self._room_told = self._now
        for number, worker in enumerate(self._workers):
            claimed = worker.pool.claimed_idle_blocks
            unclaimed = worker.pool.idle_blocks - claimed
            self._router.told_room(number, Room(worker.pool.spare_blocks, unclaimed, claimed))

    def _begin_step(self, number: int) -> None:
        worker = self._workers[number]
        computed = self._read(worker, STEP_TOKENS - len(worker.running))
        worker.is_stepping = computed > 0 or bool(worker.running)
        if not worker.is_stepping:
            return
        idle = worker.pool.idle_blocks + worker.pool.spare_blocks
        seconds = decode_seconds(1 - idle / worker.capacity_blocks) if worker.running else 0.0
        seconds += prefill_seconds(computed) if computed else 0.0
        heapq.heappush(self._events, (self._now + seconds, _STEPS, number))

    def _read(self, worker: _Worker, budget: int) -> int:
        """Prompt tokens that the next step computes."""
        left = budget
        while left > 0 and (worker.reading is not None or self._take_next(worker)):
            taken = min(left, worker.left_tokens)
            worker.left_tokens -= taken
            left -= taken
            if worker.left_tokens == 0 and worker.reading is not None:
                worker.read.append(worker.reading)
                worker.reading = None
        return budget - left

    def _take_next(self, worker: _Worker) -> bool:
        if not worker.waiting or len(worker.running) + len(worker.read) >= MOST_RUNNING:
            return False
        request, pool, trace = worker.waiting[0], worker.pool, self._trace
        missing_blocks = len(trace.blocks_of(request)) - pool.resident_prefix(request)
        is_busy = bool(worker.running or worker.read)
        if missing_blocks > pool.idle_blocks + pool.spare_blocks and is_busy:
            return False
        worker.waiting.popleft()
        hit_tokens = pool.begin(request, self._now).hit_blocks * trace.block_tokens
        self._served.hit_tokens[request] = hit_tokens
        worker.reading, worker.left_tokens = request, max(1, int(trace.prompt_tokens[request]) - hit_tokens)
        return True

    def _end_step(self, worker: _Worker) -> None:
        made = [*worker.running]
        for request in made:
            self._tickets[request].advance(1)
            worker.running[request] -= 1
        for request in worker.read:
            self._served.first_token_seconds[request] = self._now - self._arrivals[request]
            self._tickets[request].advance(1, cached_tokens=int(self._served.hit_tokens[request]))
            worker.running[request] = max(0, int(self._trace.output_tokens[request]) - 1)
        worker.read.clear()
        for request in [one for one, left in worker.running.items() if left <= 0]:
            self._end(worker, request)

    def _end(self, worker: _Worker, request: int) -> None:
        del worker.running[request]
        self._tickets.pop(request).close()
        worker.pool.end(request, self._now)
        for follower in self._followers.get(request, ()):
            gap_seconds = float(self._trace.arrival_seconds[follower] - self._trace.end_seconds[request])
            heapq.heappush(self._events, (self._now + max(0.0, gap_seconds), _ARRIVES, follower))


def percentile(values: Sequence[float] | NDArray[np.float64], share: float) -> float:
    return float(np.percentile(values, share))
