"""Prospects with little to say, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.router.pace import Pace
from appliance.router.scoring import Cost, Prospect, Room, Scorer, expected_cost

BLOCK_TOKENS = 16
PACE = Pace(fixed_seconds=0.0, seconds_per_token=0.001, load_seconds_per_token=(0.0, 0.0001, 0.0002, 0.0005))
BLOCK_SECONDS = BLOCK_TOKENS * PACE.seconds_per_token


def prospect(
    prompt: int,
    *,
    worker: int = 0,
    overlap: int = 0,
    pending: int = 0,
    lower: Sequence[int] = (),
    prefill: int = 0,
    decode: float = 0.0,
    answer: int = 0,
    is_last: bool = False,
    pace: Pace = PACE,
    room: Room | None = None,
) -> Prospect:
    """In blocks; `decode` in tokens. `lower` are the depths down to host, disk and remote tier, if not those above."""
    held = [overlap, *lower]
    held += [held[-1]] * (4 - len(held))
    return Prospect(worker, BLOCK_TOKENS, prompt, answer, held, pending, 1, prefill, decode, is_last, pace, room)


def total(prospect: Prospect, scorer: Scorer = expected_cost) -> float:
    cost: Cost = scorer(prospect)
    return cost.total_seconds
