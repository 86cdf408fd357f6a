"""The requests a router has sent to workers and not seen end yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.pending import PendingBlocks


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """One admitted request. It weighs on its worker until it is closed; whoever admits must close."""

    worker: int
    hashes: Hashes = field(repr=False)
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
    """What one worker has accepted: how many requests, their prompts' blocks, and those still to be computed."""

    running: int = 0
    context_blocks: int = 0
    prefill_blocks: int = 0


_NO_LOAD = WorkerLoad()


class Loads:
    """The open tickets and their sums per worker. A worker without open tickets has no entry."""

    def __init__(self) -> None:
        self._open: dict[Ticket, int] = {}
        """Each with its number among the pending prompts."""
        self._in_prefill: set[Ticket] = set()
        self._loads: dict[int, WorkerLoad] = {}
        self._pending = PendingBlocks()

    def admit(self, worker: int, hashes: Hashes, *, prompt_blocks: int, uncached_blocks: int) -> Ticket:
        """A new open ticket, in prefill, which counts from now on."""
        ticket = Ticket(worker, hashes, prompt_blocks, uncached_blocks, self)
        self._open[ticket] = self._pending.add(worker, hashes)
        self._in_prefill.add(ticket)
        load = self._loads.setdefault(worker, WorkerLoad())
        load.running += 1
        load.context_blocks += prompt_blocks
        load.prefill_blocks += uncached_blocks
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
        self._pending.remove(self._open.pop(ticket))
        load = self._loads[ticket.worker]
        load.running -= 1
        load.context_blocks -= ticket.prompt_blocks
        if load.running == 0:
            del self._loads[ticket.worker]

    def workers(self) -> frozenset[int]:
        """Those with open tickets."""
        return frozenset(self._loads)

    def of(self, worker: int) -> WorkerLoad:
        """To be read only. All zero for a worker without open tickets."""
        return self._loads.get(worker, _NO_LOAD)

    def pending_depths(self, hashes: Hashes) -> list[int]:
        """Per worker: how many leading blocks of `hashes` belong to one of its open requests too."""
        depths: list[int] = self._pending.depths(hashes).tolist()
        return depths

    def check_integrity(self) -> None:
        """Raises `IntegrityError` when sums or pending blocks are not those of the open tickets. Does not mutate."""
        if not self._in_prefill <= self._open.keys():
            raise IntegrityError("loads: a closed ticket is in prefill")
        expected: dict[int, WorkerLoad] = {}
        for ticket in self._open:
            load = expected.setdefault(ticket.worker, WorkerLoad())
            load.running += 1
            load.context_blocks += ticket.prompt_blocks
            load.prefill_blocks += ticket.uncached_blocks if ticket in self._in_prefill else 0
        if expected != self._loads:
            raise IntegrityError(f"loads: the sums of workers {sorted(self._loads)} are not those of the open tickets")
        self._pending.check_integrity({number: (ticket.worker, ticket.hashes) for ticket, number in self._open.items()})
