"""Chooses a worker for a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Set
from enum import StrEnum
from random import Random
from typing import NamedTuple

import numpy as np

from appliance.router.affinity import Affinity
from appliance.router.decision import Decision, Reason
from appliance.router.errors import NoWorker
from appliance.router.hashing import ROOT, Hashes, Tokens, flat_tokens, hash_blocks
from appliance.router.history import History, Record
from appliance.router.index import Depths, Index
from appliance.router.load import Loads, Prefill, Ticket
from appliance.router.pace import Paces
from appliance.router.reservations import Reservations
from appliance.router.scorers import Pricer
from appliance.router.scoring import Candidate, Prospect, Room, Scorer, expected_cost


class RoutingPolicy(StrEnum):
    """How a worker is chosen: by least cost (`scoring.Scorer`), in turn, or by lot."""

    KV = "kv"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"


class WorkerStatus(NamedTuple):
    """One worker's open tickets: how many, their blocks still to be computed, and all blocks of their prompts and of
    their answers so far.

    `accepting` is false for a removed worker that still has open tickets.
    """

    worker: int
    accepting: bool
    running: int
    prefill_blocks: int
    context_blocks: int


class Router:
    """Routes prompts over `workers` by what `index` says they hold and by the tickets still open.

    `random` breaks ties and draws for the random policy. The router reads `index` and never writes it. `clock` tells
    seconds.
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
        scorer: Scorer = expected_cost,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.block_tokens = block_tokens
        self.paces = Paces()
        self.history = History()
        self.pricer = Pricer(scorer)
        self.reservations = Reservations(clock)
        self._index = index
        self._workers = set(workers)
        self._random = random
        self._root = root
        self._loads = Loads(block_tokens, clock)
        self._affinity = Affinity()
        self._rooms: dict[int, Room] = {}
        self._last_worker = -1

    def add_worker(self, worker: int) -> None:
        """Make `worker` a candidate. A no-op when it is one."""
        self._workers.add(worker)

    def remove_worker(self, worker: int) -> None:
        """Choose `worker` no more (dead or draining). A no-op when it is no candidate.

        Its open tickets keep their weight until their owners close them; its part of the index is left alone.
        """
        self._workers.discard(worker)
        self._rooms.pop(worker, None)

    def told_room(self, worker: int, room: Room) -> None:
        """What the worker's engine has said of its cache; it counts until it says something else or is removed."""
        self._rooms[worker] = room

    def route(
        self,
        token_ids: Sequence[int] | Tokens,
        *,
        extra_keys: Sequence[Sequence[object] | None] | None = None,
        exclude: frozenset[int] = frozenset(),
        session_id: str | None = None,
        output_tokens: int | None = None,
    ) -> Decision:
        """The worker that `policy` chooses among those not in `exclude`. Changes no load and no turn; `admit` does.

        `extra_keys` are per block, as for `hash_blocks`. `output_tokens`: how long the client expects the answer to be.
        Raises `NoWorker` when there is no candidate.
        """
        workers = sorted(self._workers - exclude)
        if not workers:
            raise NoWorker(
                f"no worker to route to: accepting {sorted(self._workers)}, excluded {sorted(exclude)}",
                hint="wait until a worker is up",
            )
        self.reservations.expire()
        tokens = flat_tokens(token_ids)
        hashes = hash_blocks(tokens, self.block_tokens, extra_keys=extra_keys, root=self._root)
        prompt_tokens = tokens.size
        prospects = self._prospects(workers, hashes, prompt_tokens, session_id, output_tokens)
        candidates = tuple(map(Candidate, prospects, self.pricer.costs(prospects)))
        worker, reason = self._choose(candidates)
        return Decision(
            worker,
            reason,
            tokens,
            hashes,
            prompt_tokens,
            -(-prompt_tokens // self.block_tokens),
            candidates,
            session_id,
            output_tokens,
            self._held_by(self._workers & exclude, hashes) if exclude else {},
        )

    def depths(self, hashes: Hashes) -> Depths:
        """`depths[worker, tier]`: how many leading blocks of a prompt each worker would find now."""
        return self._index.match(hashes)

    def admit(self, decision: Decision, request_id: str | None = None) -> Ticket:
        """The request of `decision` goes to its worker now and weighs on it; its blocks are pending there."""
        self._last_worker = decision.worker
        self._affinity.served(decision.session_id, decision.worker)
        record = Record(
            request_id,
            self.clock(),
            decision.worker,
            decision.reason,
            decision.prompt_tokens,
            decision.candidates,
        )
        self.history.add(record)
        return self._admit(decision, lambda prefill: self._learn(record, prefill))

    def hashes_with(self, decision: Decision, answer: Sequence[int]) -> Hashes:
        """Of the full blocks of a prompt with its answer; without the answer's for a prompt that fills none."""
        if not decision.hashes.size:
            return decision.hashes
        rest = decision.tokens[decision.hashes.size * self.block_tokens :].tolist()
        behind = hash_blocks([*rest, *answer], self.block_tokens, parent=int(decision.hashes[-1]))
        return np.concatenate([decision.hashes, behind])

    def reserve(self, decision: Decision, name: str, seconds: float) -> None:
        """Weigh on the worker as if the request of `decision` had come, until `reservations.free(name)` or so long.

        Raises `TooManyReservations`, and reserves nothing then.
        """
        self.reservations.check_room()
        self.reservations.take(name, self._admit(decision), seconds)

    def snapshot(self) -> tuple[WorkerStatus, ...]:
        """Candidates and workers with open tickets, in ascending order."""
        self.reservations.expire()
        return tuple(self._status(worker) for worker in sorted(self._workers | self._loads.workers()))

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when the loads are not the sums of the open tickets. Does not mutate."""
        for part in (self._loads, self.paces, self.history, self.reservations, self._affinity):
            part.check_integrity()

    def _admit(self, decision: Decision, on_prefill: Callable[[Prefill], None] = lambda _: None) -> Ticket:
        return self._loads.admit(
            decision.worker,
            decision.hashes,
            prompt_tokens=decision.prompt_tokens,
            uncached_blocks=decision.uncached_blocks,
            output_tokens=decision.output_tokens,
            on_prefill=on_prefill,
        )

    def _learn(self, record: Record, prefill: Prefill) -> None:
        cached_tokens, wait_seconds, service_seconds, below = prefill
        if cached_tokens is None:
            return
        if service_seconds is not None:
            self.paces.learn(record.worker, record.prompt_tokens - cached_tokens, service_seconds, below)
        self.history.settle(record, cached_tokens=cached_tokens, wait_seconds=wait_seconds)

    def _status(self, worker: int) -> WorkerStatus:
        load = self._loads.of(worker)
        return WorkerStatus(worker, worker in self._workers, load.running, load.prefill_blocks, load.context_blocks)

    def _prospects(
        self,
        workers: Sequence[int],
        hashes: Hashes,
        prompt_tokens: int,
        session_id: str | None,
        output_tokens: int | None,
    ) -> list[Prospect]:
        loads, paces, rooms = self._loads, self.paces, self._rooms
        depths: list[list[int]] = self._index.match(hashes).tolist()
        pending = loads.pending_depths(hashes)
        last_worker = self._affinity.worker(session_id)
        block_tokens = self.block_tokens
        prompt_blocks = -(-prompt_tokens // block_tokens)
        answer_blocks = loads.expected_tokens(output_tokens) // block_tokens
        prospects = []
        for worker in workers:
            load, held = loads.of(worker), depths[worker]
            behind = pending[worker] - held[0]
            prospects.append(
                Prospect(
                    worker,
                    block_tokens,
                    prompt_blocks,
                    answer_blocks,
                    held,
                    max(0, behind),
                    load.running,
                    load.prefill_blocks,
                    load.decode_tokens,
                    worker == last_worker,
                    paces.of(worker),
                    rooms.get(worker),
                )
            )
        return prospects

    def _held_by(self, workers: Set[int], hashes: Hashes) -> dict[int, int]:
        """Of those of them that have the prompt's first block: how many they have without a gap, in any tier."""
        depths = self._index.match(hashes)
        return {worker: depth for worker in sorted(workers) if (depth := int(depths[worker, -1]))}

    def _choose(self, candidates: tuple[Candidate, ...]) -> tuple[int, Reason]:
        if len(candidates) == 1:
            return candidates[0].worker, Reason.ONLY
        match self.policy:
            case RoutingPolicy.KV:
                return self._cheapest(candidates)
            case RoutingPolicy.ROUND_ROBIN:
                later = (candidate for candidate in candidates if candidate.worker > self._last_worker)
                return next(later, candidates[0]).worker, Reason.TURN
            case RoutingPolicy.RANDOM:
                return self._random.choice(candidates).worker, Reason.CHANCE

    def _cheapest(self, candidates: tuple[Candidate, ...]) -> tuple[int, Reason]:
        totals = [cost.total_seconds for _, cost in candidates]
        least = min(totals)
        best = [candidate.worker for candidate, total in zip(candidates, totals, strict=True) if total == least]
        return (best[0], Reason.COST) if len(best) == 1 else (self._random.choice(best), Reason.TIE)
