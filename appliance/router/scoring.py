"""What it would cost to give a prompt to a worker, in seconds; `docs/design/router.md` says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from appliance.router.index import Tier
from appliance.router.pace import Pace

CROWDING_WEIGHT = 2.0
"""What a second of prefill costs all others at the worker: it takes steps of the engine and room in the cache that a
copy elsewhere made needless. Without it, waiting for a prefix that another request is computing would cost as much as
computing it again on the next worker, and a burst would never stay together. Measured in `benchmarks.replay`: at 0 a
quarter to a third more mean time to the first token than at 1, at 2 up to an eighth less, at 3 no less than at 2."""

DECODE_CONTEXT_TOKENS = 875
"""So much context is read in the time in which one token is prefilled. With 128 KiB of KV per token (an 8B model) at
3.3 TB/s reading takes 0.04 µs a token, prefill some 35 µs on the same GPU. Both scale alike on smaller GPUs."""

IDLE_WORTH = 0.5
"""The chance that an unclaimed block which nobody uses now is read again. A prior: no worker has told."""

AFFINITY_TOKENS = 64
"""A session's last worker is preferred as if it held so many tokens more: enough to break a tie, too little to queue
for. What it really holds is in the index."""


class Room(NamedTuple):
    """What is not in use in a worker's cache, as its engine told last, in blocks: without content; with, but claimed by
    nobody; and claimed."""

    free_blocks: int
    unclaimed_blocks: int
    claimed_blocks: int


class Prospect(NamedTuple):
    """One worker, looked at for one prompt.

    `held_blocks[tier]` are the leading blocks which it holds in that tier or a faster one, as its events confirm.
    `pending_blocks` follow those on the GPU without a gap and belong to requests already admitted there.
    `prefill_blocks` is the prompts' part, and `decode_tokens` the answers' part (in tokens of prefill), of the work
    that it has accepted. `answer_blocks` is what this prompt's answer will fill. `room` is `None` if untold.
    """

    worker: int
    block_tokens: int
    prompt_blocks: int
    answer_blocks: int
    held_blocks: Sequence[int]
    pending_blocks: int
    running: int
    prefill_blocks: int
    decode_tokens: float
    is_last_worker: bool
    pace: Pace
    room: Room | None

    @property
    def overlap_blocks(self) -> int:
        """Leading blocks on the GPU."""
        return self.held_blocks[Tier.GPU]

    @property
    def ready_blocks(self) -> int:
        """Leading blocks on the GPU by the time this prompt's turn comes."""
        return self.held_blocks[Tier.GPU] + self.pending_blocks

    @property
    def missing_blocks(self) -> int:
        """To be computed: in no tier and not pending."""
        held = self.held_blocks
        return self.prompt_blocks - max(held[0] + self.pending_blocks, held[-1])


class Cost(NamedTuple):
    """The parts, in seconds. `affinity_seconds` is taken off; `other_seconds` is for scorers of other people."""

    prefill_seconds: float = 0.0
    load_seconds: float = 0.0
    queue_seconds: float = 0.0
    decode_seconds: float = 0.0
    crowding_seconds: float = 0.0
    displacement_seconds: float = 0.0
    affinity_seconds: float = 0.0
    other_seconds: float = 0.0

    @property
    def total_seconds(self) -> float:
        return sum(self) - 2 * self.affinity_seconds

    @property
    def wait_seconds(self) -> float:
        """Until the prompt's own first token: the rest is paid by others, or later."""
        return self.prefill_seconds + self.load_seconds + self.queue_seconds


class Scorer(Protocol):
    """Prices a worker for a prompt; the one with the least `total_seconds` gets it, a lot decides among equals.

    Called in the loop that serves, once per worker and request: it must be quick, must not wait, and must not keep
    what it is given. A plugin is a callable of this kind, or a class whose instances are, under the entry point group
    `dynamo_box.scorers`; see `docs/design/router.md`.
    """

    def __call__(self, prospect: Prospect, /) -> Cost: ...


class Candidate(NamedTuple):
    """One worker, weighed for one prompt."""

    prospect: Prospect
    cost: Cost

    @property
    def worker(self) -> int:
        return self.prospect.worker

    @property
    def overlap_blocks(self) -> int:
        return self.prospect.overlap_blocks

    @property
    def pending_blocks(self) -> int:
        return self.prospect.pending_blocks


def expected_cost(prospect: Prospect) -> Cost:
    """What the box does by itself.

    A pending block is as good as a held one: the engine will have computed it when this prompt's turn comes. Prompts
    without overlap differ in load alone and thus spread evenly.
    """
    pace, room = prospect.pace, prospect.room
    seconds_per_token = pace.seconds_per_token
    block_seconds = seconds_per_token * prospect.block_tokens
    missing_seconds = prospect.missing_blocks * block_seconds
    # By position: this runs for each worker and request, and names would cost a third of it.
    return Cost(
        pace.fixed_seconds + missing_seconds,
        0.0 if prospect.held_blocks[-1] == prospect.held_blocks[0] else _load_seconds(prospect),
        prospect.prefill_blocks * block_seconds,
        prospect.decode_tokens * seconds_per_token,
        CROWDING_WEIGHT * missing_seconds,
        0.0 if room is None else _displacement_seconds(prospect, room),
        AFFINITY_TOKENS * seconds_per_token if prospect.is_last_worker else 0.0,
    )


def least_loaded(prospect: Prospect) -> Cost:
    """Load alone, whatever is held: the yardstick that takes no notice of the cache."""
    seconds_per_token = prospect.pace.seconds_per_token
    return Cost(
        queue_seconds=prospect.prefill_blocks * prospect.block_tokens * seconds_per_token,
        decode_seconds=prospect.decode_tokens * seconds_per_token,
    )


def _load_seconds(prospect: Prospect) -> float:
    """Blocks that lie in slower tiers, behind those that will be on the GPU anyway."""
    held, depth, seconds = prospect.held_blocks, prospect.ready_blocks, 0.0
    for tier in (Tier.HOST, Tier.DISK, Tier.REMOTE):
        if held[tier] > depth:
            tokens = (held[tier] - depth) * prospect.block_tokens
            seconds += tokens * prospect.pace.load_seconds_per_token[tier]
            depth = held[tier]
    return seconds


def _displacement_seconds(prospect: Prospect, room: Room) -> float:
    """What must be computed again, on average, of the blocks that this prompt and those queued before it push out.

    The least worth goes first: with worths spread evenly between nothing and twice the mean, a share `s` of them is
    worth `s` times as much as `s` of the mean. Claimed blocks go last, and somebody has said that they will be used.
    """
    blocks = prospect.prompt_blocks - prospect.ready_blocks + prospect.answer_blocks
    displaced = prospect.prefill_blocks + blocks - room.free_blocks
    if displaced <= 0:
        return 0.0
    unclaimed = min(displaced, room.unclaimed_blocks)
    claimed = min(displaced - unclaimed, room.claimed_blocks)
    lost = claimed + (IDLE_WORTH * unclaimed * unclaimed / room.unclaimed_blocks if unclaimed else 0.0)
    # Of what is pushed out, this prompt has only its own part.
    share = min(1.0, blocks / displaced)
    return share * lost * prospect.block_tokens * prospect.pace.seconds_per_token
