"""What it would cost to give a prompt to a worker."""

from __future__ import annotations

from typing import NamedTuple

UNCACHED_WEIGHT = 2.0
"""A block to compute counts for the newcomer, which waits for it, and again for all others: it takes slots of the
engine and room in the cache that a copy elsewhere made needless. With 1.0, waiting for a prefix that another request
is computing would cost as much as computing it again on the next worker, and a burst would never stay together."""

DECODE_WEIGHT = 0.25
"""What a running request takes from its worker, in blocks of prefill per block of its context.

A decode step reads the whole context once. With 128 KiB of KV per token (an 8B model) at 3.3 TB/s that is 0.04 µs a
token, 12 µs over an answer of 300 tokens; to prefill a token takes some 35 µs on the same GPU. Both scale alike on
smaller GPUs. The ratio has no unit, so a worker is left for an idle one at the same number of like requests, about
eight of them, whether their contexts are short or long.
"""


class Candidate(NamedTuple):
    """One worker, weighed for one prompt. All numbers are in blocks.

    `overlap_blocks` are held by the worker, as its events confirm. `pending_blocks` follow them without a gap and
    belong to requests already admitted there. `load_blocks` is the work that the worker has accepted.
    """

    worker: int
    overlap_blocks: int
    pending_blocks: int
    load_blocks: float
    cost: float


def weigh(
    worker: int,
    *,
    prompt_blocks: int,
    overlap_blocks: int,
    pending_blocks: int,
    prefill_blocks: int,
    context_blocks: int,
) -> Candidate:
    """Cost = `UNCACHED_WEIGHT` × blocks to compute + prefill queued + `DECODE_WEIGHT` × context of running requests.

    The first term is what the prompt adds to the worker, the other two what it finds there; all are in blocks of
    prefill work, so they may be added. A pending block is as good as a held one: the engine will have computed it when
    this prompt's turn comes. Prompts without overlap differ in load alone and thus spread evenly.
    """
    load_blocks = prefill_blocks + DECODE_WEIGHT * context_blocks
    uncached_blocks = prompt_blocks - overlap_blocks - pending_blocks
    return Candidate(
        worker, overlap_blocks, pending_blocks, load_blocks, UNCACHED_WEIGHT * uncached_blocks + load_blocks
    )
