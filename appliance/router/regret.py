"""What a decision turned out to have cost, when the engine has told how much of the prompt it found."""

from __future__ import annotations

from typing import NamedTuple

from appliance.router.scoring import Candidate, Prospect, expected_cost


class Outcome(NamedTuple):
    """`wait_seconds` is measured, from admission to the first token. `missed_tokens` were computed although some worker
    held them, as its events said. `regret_seconds` is how much sooner than here the first token would have come from
    `best_worker`, by what the decision knew of the others and what is known now of the chosen one; 0 when nobody would
    have been faster.
    """

    cached_tokens: int
    wait_seconds: float
    missed_tokens: int
    best_worker: int
    regret_seconds: float


def outcome_of(
    candidates: tuple[Candidate, ...], worker: int, *, prompt_tokens: int, cached_tokens: int, wait_seconds: float
) -> Outcome:
    """Both sides of the regret are the cost model's seconds: a busy machine makes no decision look wrong."""
    waits = {
        prospect.worker: (
            _actual_wait(prospect, prompt_tokens, cached_tokens)
            if prospect.worker == worker
            else expected_cost(prospect).wait_seconds
        )
        for prospect, _ in candidates
    }
    best_worker = min(waits, key=lambda one: (waits[one], one != worker))
    held_tokens = max(prospect.overlap_blocks * prospect.block_tokens for prospect, _ in candidates)
    missed_tokens = max(0, min(held_tokens, prompt_tokens) - cached_tokens)
    return Outcome(cached_tokens, wait_seconds, missed_tokens, best_worker, waits[worker] - waits[best_worker])


def _actual_wait(prospect: Prospect, prompt_tokens: int, cached_tokens: int) -> float:
    cost = expected_cost(prospect)
    computed_tokens = max(0, prompt_tokens - cached_tokens)
    prefill_seconds = prospect.pace.fixed_seconds + computed_tokens * prospect.pace.seconds_per_token
    return cost.queue_seconds + cost.load_seconds + prefill_seconds
