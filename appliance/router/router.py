"""Chooses a worker for a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import NamedTuple

from appliance.router.errors import NoWorker
from appliance.router.hashing import ROOT, Hashes, Tokens, hash_blocks
from appliance.router.index import Index, Tier
from appliance.router.load import Loads, Ticket
from appliance.router.scoring import Candidate, weigh


class RoutingPolicy(StrEnum):
    """How a worker is chosen: by least cost (`scoring.weigh`), in turn, or by lot."""

    KV = "kv"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Where a prompt should go, and what was weighed.

    `hashes` are those of the prompt's full blocks; `prompt_blocks` counts a partial last block too.
    `candidates` has one entry for each worker that could be chosen, in ascending order of worker.
    """

    worker: int
    hashes: Hashes
    prompt_blocks: int
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.worker == self.worker)

    @property
    def overlap_blocks(self) -> int:
        """Leading blocks which the chosen worker holds, as its events confirm."""
        return self.chosen.overlap_blocks

    @property
    def uncached_blocks(self) -> int:
        """Blocks which the chosen worker will have to compute for this prompt."""
        return self.prompt_blocks - self.chosen.overlap_blocks - self.chosen.pending_blocks


class WorkerStatus(NamedTuple):
    """One worker's open tickets: how many, their blocks still to be computed, and all blocks of their prompts.

    `accepting` is false for a removed worker that still has open tickets.
    """

    worker: int
    accepting: bool
    running: int
    prefill_blocks: int
    context_blocks: int


class Router:
    """Routes prompts over `workers` by what `index` says they hold and by the tickets still open.

    `random` breaks ties and draws for the random policy. The router reads `index` and never writes it.
    """

    def __init__(
        self,
        index: Index,
        workers: Iterable[int],
        policy: RoutingPolicy,
        *,
        block_tokens: int,
        random: Random,
        root: int = ROOT,
    ) -> None:
        self.policy = policy
        self._index = index
        self._workers = set(workers)
        self._block_tokens = block_tokens
        self._random = random
        self._root = root
        self._loads = Loads()
        self._last_worker = -1

    @property
    def block_tokens(self) -> int:
        return self._block_tokens

    def add_worker(self, worker: int) -> None:
        """Make `worker` a candidate. A no-op when it is one."""
        self._workers.add(worker)

    def remove_worker(self, worker: int) -> None:
        """Choose `worker` no more (dead or draining). A no-op when it is no candidate.

        Its open tickets keep their weight until their owners close them; its part of the index is left alone.
        """
        self._workers.discard(worker)

    def route(
        self,
        token_ids: Sequence[int] | Tokens,
        *,
        extra_keys: Sequence[Sequence[object] | None] | None = None,
        exclude: frozenset[int] = frozenset(),
    ) -> Decision:
        """The worker that `policy` chooses among those not in `exclude`. Changes no load; `admit` does.

        `extra_keys` are per block, as for `hash_blocks`. Raises `NoWorker` when there is no candidate.
        """
        workers = sorted(self._workers - exclude)
        if not workers:
            raise NoWorker(
                f"no worker to route to: accepting {sorted(self._workers)}, excluded {sorted(exclude)}",
                hint="wait until a worker is up",
            )
        hashes = hash_blocks(token_ids, self._block_tokens, extra_keys=extra_keys, root=self._root)
        prompt_blocks = -(-len(token_ids) // self._block_tokens)
        overlaps: list[int] = self._index.match(hashes)[:, Tier.GPU].tolist()
        pending = self._loads.pending_depths(hashes)
        candidates = tuple(self._weigh(worker, prompt_blocks, overlaps[worker], pending[worker]) for worker in workers)
        return Decision(self._choose(candidates).worker, hashes, prompt_blocks, candidates)

    def admit(self, decision: Decision) -> Ticket:
        """The request of `decision` goes to its worker now and weighs on it; its blocks are pending there."""
        return self._loads.admit(
            decision.worker,
            decision.hashes,
            prompt_blocks=decision.prompt_blocks,
            uncached_blocks=decision.uncached_blocks,
        )

    def snapshot(self) -> tuple[WorkerStatus, ...]:
        """Candidates and workers with open tickets, in ascending order."""
        return tuple(self._status(worker) for worker in sorted(self._workers | self._loads.workers()))

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when the loads are not the sums of the open tickets. Does not mutate."""
        self._loads.check_integrity()

    def _status(self, worker: int) -> WorkerStatus:
        load = self._loads.of(worker)
        return WorkerStatus(worker, worker in self._workers, load.running, load.prefill_blocks, load.context_blocks)

    def _weigh(self, worker: int, prompt_blocks: int, overlap_blocks: int, pending_depth: int) -> Candidate:
        load = self._loads.of(worker)
        return weigh(
            worker,
            prompt_blocks=prompt_blocks,
            overlap_blocks=overlap_blocks,
            pending_blocks=max(0, pending_depth - overlap_blocks),
            prefill_blocks=load.prefill_blocks,
            context_blocks=load.context_blocks,
        )

    def _choose(self, candidates: tuple[Candidate, ...]) -> Candidate:
        match self.policy:
            case RoutingPolicy.KV:
                least = min(candidate.cost for candidate in candidates)
                return self._random.choice([candidate for candidate in candidates if candidate.cost == least])
            case RoutingPolicy.ROUND_ROBIN:
                return self._next_in_turn(candidates)
            case RoutingPolicy.RANDOM:
                return self._random.choice(candidates)

    def _next_in_turn(self, candidates: tuple[Candidate, ...]) -> Candidate:
        later = (candidate for candidate in candidates if candidate.worker > self._last_worker)
        chosen = next(later, candidates[0])
        self._last_worker = chosen.worker
        return chosen
