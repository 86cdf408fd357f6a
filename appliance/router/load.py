"""The requests a router has sent to workers and not seen end yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from appliance.cache.prompt_read import NO_TOKENS, TierTokens
from appliance.router.answer_length import AnswerLength
from appliance.router.errors import IntegrityError
from appliance.router.hashing import Hashes
from appliance.router.pending import PendingBlocks
from appliance.router.scoring import DECODE_CONTEXT_TOKENS


class Prefill(NamedTuple):
    """A prompt was computed, `wait_seconds` after it was admitted, of which `service_seconds` went by since those ahead
    were done; `None` when one of them was aborted, as nobody knows when. `cached_tokens` were not computed; `None`:
    nobody has told. Of these `below` were loaded from slower tiers than the GPU."""

    cached_tokens: int | None
    wait_seconds: float
    service_seconds: float | None
    below: TierTokens = NO_TOKENS


MOST_OUTPUT_TOKENS = 1 << 17
"""A client that expects more is taken to expect this: its worker would look busy for hours."""

LEAST_LEFT_TOKENS = 320
"""An answer weighs as if at least so much of it were still to come. A busy worker stays busy: sessions come back to
where their blocks are. Counted by what is really left, any number of subagents with short answers would share a worker
beside an idle one, since each by itself is cheaper than computing their common prefix once more."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One admitted request. It weighs on its worker until it is closed; whoever admits must close.

    `expected_tokens` is the length of its answer, as far as anybody knows; `is_told` when its client says so.
    `on_prefill` is called once, when its prompt was computed.
    """

    worker: int
    hashes: Hashes = field(repr=False)
    prompt_tokens: int
    prompt_blocks: int
    uncached_blocks: int
    expected_tokens: int
    is_told: bool
    on_prefill: Callable[[Prefill], None] = field(repr=False)
    _loads: Loads = field(repr=False)
    admitted_seconds: float
    aborts_before: int = 0
    made_tokens: int = 0
    counted_tokens: int = 0
    """Those of the answer that weigh: they are counted by the block."""

    @property
    def context_blocks(self) -> int:
        """Of the prompt and of the answer so far."""
        return self.prompt_blocks + self.counted_tokens // self._loads.block_tokens

    @property
    def decode_work(self) -> int:
        """Twice the context, in tokens, which is read until the answer ends, summed over the tokens still to come."""
        left = self.expected_tokens
        if self.is_told and self.counted_tokens < self.expected_tokens:
            left -= self.counted_tokens
        left = max(left, LEAST_LEFT_TOKENS)
        return left * (2 * (self.prompt_tokens + self.counted_tokens) + left)

    def first_token(self, cached_tokens: int | None = None, below: TierTokens = NO_TOKENS) -> None:
        """The prompt is computed: it is no prefill load any more. A no-op when called again or after `close()`.

        `cached_tokens` of it were read from cache; `None`: not known, and nothing is learned. `below` of these came
        from slower tiers.
        """
        self._loads.end_prefill(self, cached_tokens, below)

    def advance(self, tokens: int, cached_tokens: int | None = None, below: TierTokens = NO_TOKENS) -> None:
        """The engine has made so many more tokens; the first of them ends prefill, as `first_token`."""
        if not self.made_tokens:
            self.first_token(cached_tokens, below)
        self.made_tokens += tokens
        if self.made_tokens >= self.counted_tokens + self._loads.block_tokens:
            self._loads.count(self)

    def close(self) -> None:
        """The request ended, in whatever way. Idempotent."""
        self._loads.end(self)


@dataclass(slots=True)
class WorkerLoad:
    """What one worker has accepted: how many requests, the blocks of their prompts and answers so far, those of prompts
    still to be computed, and `Ticket.decode_work`."""

    running: int = 0
    context_blocks: int = 0
    prefill_blocks: int = 0
    decode_work: int = 0
    prefill_ended_seconds: float = field(default=-float("inf"), compare=False)
    """When a prompt was computed last: what is computed next has had the worker for itself since then."""
    aborts: int = field(default=0, compare=False)
    """Of requests that had not been computed: what was spent on them nobody knows."""

    @property
    def decode_tokens(self) -> float:
        """The work left in answers, in tokens of prefill."""
        return self.decode_work / (2 * DECODE_CONTEXT_TOKENS)


_NO_LOAD = WorkerLoad()


class Loads:
    """The open tickets and their sums per worker. A worker without open tickets has no entry.

    `clock` tells seconds. The length of answers is learned from all that have begun, aborted ones too.
    """

    def __init__(self, block_tokens: int, clock: Callable[[], float]) -> None:
        self.block_tokens = block_tokens
        self.answers = AnswerLength()
        self._clock = clock
        self._open: dict[Ticket, int] = {}
        """Each with its number among the pending prompts."""
        self._in_prefill: set[Ticket] = set()
        self._loads: dict[int, WorkerLoad] = {}
        self._pending = PendingBlocks()

    def admit(
        self,
        worker: int,
        hashes: Hashes,
        *,
        prompt_tokens: int,
        uncached_blocks: int,
        output_tokens: int | None = None,
        on_prefill: Callable[[Prefill], None] = lambda _: None,
    ) -> Ticket:
        """A new open ticket, in prefill, which counts from now on. `output_tokens`: what the client expects."""
        prompt_blocks = -(-prompt_tokens // self.block_tokens)
        ticket = Ticket(
            worker,
            hashes,
            prompt_tokens,
            prompt_blocks,
            uncached_blocks,
            self.expected_tokens(output_tokens),
            output_tokens is not None,
            on_prefill,
            self,
            self._clock(),
        )
        self._open[ticket] = self._pending.add(worker, hashes)
        self._in_prefill.add(ticket)
        load = self._loads.setdefault(worker, WorkerLoad())
        ticket.aborts_before = load.aborts
        load.running += 1
        load.context_blocks += prompt_blocks
        load.prefill_blocks += uncached_blocks
        load.decode_work += ticket.decode_work
        return ticket

    def expected_tokens(self, output_tokens: int | None) -> int:
        """Of an answer whose client expects so many; at least 1."""
        return self.answers.mean_tokens if output_tokens is None else min(max(1, output_tokens), MOST_OUTPUT_TOKENS)

    def end_prefill(self, ticket: Ticket, cached_tokens: int | None, below: TierTokens = NO_TOKENS) -> None:
        """A no-op for a ticket that is not in prefill."""
        if ticket not in self._in_prefill:
            return
        self._in_prefill.remove(ticket)
        load, now = self._loads[ticket.worker], self._clock()
        load.prefill_blocks -= ticket.uncached_blocks
        began = max(ticket.admitted_seconds, load.prefill_ended_seconds)
        load.prefill_ended_seconds = now
        service_seconds = now - began if load.aborts == ticket.aborts_before else None
        ticket.on_prefill(Prefill(cached_tokens, now - ticket.admitted_seconds, service_seconds, below))

    def count(self, ticket: Ticket) -> None:
        """What the answer has got longer weighs from now on. A no-op for a ticket that is not open."""
        if ticket not in self._open:
            return
        load = self._loads[ticket.worker]
        load.context_blocks -= ticket.context_blocks
        load.decode_work -= ticket.decode_work
        ticket.counted_tokens = ticket.made_tokens
        load.context_blocks += ticket.context_blocks
        load.decode_work += ticket.decode_work

    def end(self, ticket: Ticket) -> None:
        """A no-op for a ticket that is not open."""
        if ticket not in self._open:
            return
        load = self._loads[ticket.worker]
        if ticket in self._in_prefill:
            self._in_prefill.remove(ticket)
            load.prefill_blocks -= ticket.uncached_blocks
            load.aborts += 1
        self._pending.remove(self._open.pop(ticket))
        load.running -= 1
        load.context_blocks -= ticket.context_blocks
        load.decode_work -= ticket.decode_work
        if load.running == 0:
            del self._loads[ticket.worker]
        if ticket.made_tokens:
            self.answers.learn(ticket.made_tokens)

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
        self.answers.check_integrity()
        if not self._in_prefill <= self._open.keys():
            raise IntegrityError("loads: a closed ticket is in prefill")
        expected: dict[int, WorkerLoad] = {}
        for ticket in self._open:
            load = expected.setdefault(ticket.worker, WorkerLoad())
            load.running += 1
            load.context_blocks += ticket.context_blocks
            load.prefill_blocks += ticket.uncached_blocks if ticket in self._in_prefill else 0
            load.decode_work += ticket.decode_work
        if expected != self._loads:
            raise IntegrityError(f"loads: the sums of workers {sorted(self._loads)} are not those of the open tickets")
        self._pending.check_integrity({number: (ticket.worker, ticket.hashes) for ticket, number in self._open.items()})
