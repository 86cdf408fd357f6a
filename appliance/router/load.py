"""The requests a router has sent to workers and not seen end yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.router.errors import IntegrityError


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One admitted request. It weighs on its worker until it is closed; whoever admits must close."""

    worker: int
    hashes: tuple[int, ...]
    prompt_blocks: int
    uncached_blocks: int
    _loads: Loads = field(repr=False)

    def first_token(self) -> None:
        """The prompt is computed: it is no prefill load any more. A no-op when called again or after `close()`."""
        self._loads.end_prefill(self)

    def close(self) -> None:
        """The request ended, in whatever way. Idempotent."""
        self._loads.end(self)


@dataclass(slots=True)
class WorkerLoad:
    """What one worker has accepted: how many requests, their prompts' blocks, and those still to be computed.

    `pending` counts, per block hash, the open requests whose prompt holds it.
    """

    running: int = 0
    context_blocks: int = 0
    prefill_blocks: int = 0
    pending: Counter[int] = field(default_factory=Counter)


_NO_LOAD = WorkerLoad()


class Loads:
    """The open tickets and their sums per worker. A worker without open tickets has no entry."""

    def __init__(self) -> None:
        self._open: set[Ticket] = set()
        self._in_prefill: set[Ticket] = set()
        self._loads: dict[int, WorkerLoad] = {}

    def admit(self, worker: int, hashes: tuple[int, ...], *, prompt_blocks: int, uncached_blocks: int) -> Ticket:
        """A new open ticket, in prefill, which counts from now on."""
        ticket = Ticket(worker, hashes, prompt_blocks, uncached_blocks, self)
        self._open.add(ticket)
        self._in_prefill.add(ticket)
        load = self._loads.setdefault(worker, WorkerLoad())
        load.running += 1
        load.context_blocks += prompt_blocks
        load.prefill_blocks += uncached_blocks
        load.pending.update(hashes)
        return ticket

    def end_prefill(self, ticket: Ticket) -> None:
        """A no-op for a ticket that is not in prefill."""
        if ticket in self._in_prefill:
            self._in_prefill.remove(ticket)
            self._loads[ticket.worker].prefill_blocks -= ticket.uncached_blocks

    def end(self, ticket: Ticket) -> None:
        """A no-op for a ticket that is not open."""
        if ticket not in self._open:
            return
        self.end_prefill(ticket)
        self._open.remove(ticket)
        load = self._loads[ticket.worker]
        load.running -= 1
        load.context_blocks -= ticket.prompt_blocks
        for block_hash in ticket.hashes:
            if load.pending[block_hash] == 1:
                del load.pending[block_hash]
            else:
                load.pending[block_hash] -= 1
        if load.running == 0:
            del self._loads[ticket.worker]

    def workers(self) -> frozenset[int]:
        """Those with open tickets."""
        return frozenset(self._loads)

    def of(self, worker: int) -> WorkerLoad:
        """To be read only. All zero for a worker without open tickets."""
        return self._loads.get(worker, _NO_LOAD)

    def pending_run(self, worker: int, hashes: Sequence[int], start: int) -> int:
        """How many of `hashes[start:]`, from its beginning and without a gap, belong to open requests of `worker`."""
        pending = self.of(worker).pending
        end = start
        while end < len(hashes) and hashes[end] in pending:
            end += 1
        return end - start

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when the sums are not those of the open tickets. Does not mutate."""
        if not self._in_prefill <= self._open:
            raise IntegrityError("loads: a closed ticket is in prefill")
        expected: dict[int, WorkerLoad] = {}
        for ticket in self._open:
            load = expected.setdefault(ticket.worker, WorkerLoad())
            load.running += 1
            load.context_blocks += ticket.prompt_blocks
            load.prefill_blocks += ticket.uncached_blocks if ticket in self._in_prefill else 0
            load.pending.update(ticket.hashes)
        if expected != self._loads:
            raise IntegrityError(f"loads: the sums of workers {sorted(self._loads)} are not those of the open tickets")
