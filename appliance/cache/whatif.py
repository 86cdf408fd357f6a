"""What other policies and capacities would have done with a recorded trace, beside LRU, FIFO, the optimum and a cache
without end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.cache.closed_loop import LoopResult, run_closed_loop
from appliance.cache.contender import LRU, Contender, read_contender
from appliance.cache.errors import TraceError
from appliance.cache.queue_order import QueueOrder
from appliance.cache.replay import Progress, replay
from appliance.cache.timeline import Accounting, timeline
from appliance.cache.trace import Trace
from appliance.cache.yardsticks import Yardstick, unbounded_hits, yardstick_hits
from appliance.units import format_bytes

FIFO, OPTIMUM, UNBOUNDED = "fifo", "optimum", "unbounded"


@dataclass(frozen=True, slots=True)
class Machine:
    """What turns blocks into bytes and tokens into seconds. The defaults are those of an 8B model on one large GPU."""

    kv_bytes_per_token: int = 128 * 1024
    prefill_tokens_per_second: float = 25_000.0

    def capacity_blocks(self, capacity_bytes: int, block_tokens: int) -> int:
        """Raises `TraceError` where not even one block fits."""
        block_bytes = self.kv_bytes_per_token * block_tokens
        blocks = capacity_bytes // block_bytes
        if blocks == 0:
            need = f"a block of {block_tokens} tokens takes {format_bytes(block_bytes)}"
            raise TraceError(f"a capacity of {format_bytes(capacity_bytes)} is too small: {need}")
        return blocks


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the requests behind the warm-up; evictions are those of the whole trace."""

    contender: str
    capacity_bytes: int
    prompt_tokens: int
    hit_tokens: int
    prefill_seconds_saved: float
    gap_closed: float | None
    """The share of the way from LRU to the optimum; `None` where they are the same, and of a cache without end."""
    evictions_by_region: dict[str, int] | None = None
    """Blocks; `None` for a yardstick."""

    @property
    def hit_rate(self) -> float:
        return self.hit_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(frozen=True, slots=True)
class LoopOutcome:
    contender: str
    capacity_bytes: int
    queue: QueueOrder
    result: LoopResult


def steps(trace: Trace, contenders: Sequence[Contender], capacities_bytes: Sequence[int]) -> int:
    """How many requests `what_if` will report to its `progress` in all."""
    return len(trace) * len(capacities_bytes) * len(_with_lru(contenders))


def what_if(
    trace: Trace,
    contenders: Sequence[Contender],
    capacities_bytes: Sequence[int],
    *,
    accounting: Accounting = Accounting.IDLE,
    machine: Machine = Machine(),
    warm_up_share: float = 0.5,
    progress: Progress = lambda _: None,
) -> list[Outcome]:
    """One outcome for each capacity and contender, LRU first, then the yardsticks. The first part of the requests
    fills the caches and is not counted. Raises `TraceError` for a trace without requests."""
    if len(trace) == 0:
        raise TraceError("the trace holds no request")
    return [
        outcome
        for capacity_bytes in capacities_bytes
        for outcome in _at_capacity(trace, contenders, capacity_bytes, accounting, machine, warm_up_share, progress)
    ]


def _at_capacity(
    trace: Trace,
    contenders: Sequence[Contender],
    capacity_bytes: int,
    accounting: Accounting,
    machine: Machine,
    warm_up_share: float,
    progress: Progress,
) -> list[Outcome]:
    blocks = machine.capacity_blocks(capacity_bytes, trace.block_tokens)
    measured = slice(int(len(trace) * warm_up_share), None)
    found: dict[str, int] = {}
    evictions: dict[str, dict[str, int]] = {}
    for contender in _with_lru(contenders):
        result = replay(trace, contender, blocks, accounting, progress=progress)
        found[contender.name] = _hit_tokens(trace, result.hit_blocks, measured)
        evictions[contender.name] = result.evictions_by_region
    events = timeline(trace, accounting)
    for name, yardstick in ((FIFO, Yardstick.FIFO), (OPTIMUM, Yardstick.OPTIMUM)):
        found[name] = _hit_tokens(trace, yardstick_hits(trace, events, yardstick, blocks), measured)
    found[UNBOUNDED] = _hit_tokens(trace, unbounded_hits(trace), measured)
    gap = found[OPTIMUM] - found[LRU]
    return [
        Outcome(
            contender=name,
            capacity_bytes=capacity_bytes,
            prompt_tokens=int(trace.prompt_tokens[measured].sum()),
            hit_tokens=hit_tokens,
            prefill_seconds_saved=hit_tokens / machine.prefill_tokens_per_second,
            gap_closed=(hit_tokens - found[LRU]) / gap if gap > 0 and name != UNBOUNDED else None,
            evictions_by_region=evictions.get(name),
        )
        for name, hit_tokens in found.items()
    ]


def what_if_in_a_loop(
    trace: Trace,
    contenders: Sequence[Contender],
    capacities_bytes: Sequence[int],
    *,
    queue: QueueOrder,
    machine: Machine = Machine(),
    progress: Progress = lambda _: None,
) -> list[LoopOutcome]:
    """The same with users who wait for their answers: one outcome for each capacity and contender, LRU first."""
    if len(trace) == 0:
        raise TraceError("the trace holds no request")
    return [
        LoopOutcome(
            contender.name,
            capacity_bytes,
            queue,
            run_closed_loop(
                trace,
                contender,
                machine.capacity_blocks(capacity_bytes, trace.block_tokens),
                order=queue,
                prefill_tokens_per_second=machine.prefill_tokens_per_second,
                progress=progress,
            ),
        )
        for capacity_bytes in capacities_bytes
        for contender in _with_lru(contenders)
    ]


def _with_lru(contenders: Sequence[Contender]) -> list[Contender]:
    return [read_contender(LRU), *(contender for contender in contenders if contender.name != LRU)]


def _hit_tokens(trace: Trace, hit_blocks: NDArray[np.int64], measured: slice) -> int:
    """A prompt's last block may be cut short."""
    hit_tokens = np.minimum(hit_blocks * trace.block_tokens, trace.prompt_tokens)
    return int(hit_tokens[measured].sum())
