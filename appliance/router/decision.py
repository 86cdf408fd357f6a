"""Where a prompt should go, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from appliance.router.hashing import Hashes, Tokens
from appliance.router.scoring import Candidate, Cost


class Reason(StrEnum):
    """What decided: the least cost, a lot among equal costs, that there was nobody else, the turn, or chance."""

    COST = "cost"
    TIE = "tie"
    ONLY = "only"
    TURN = "turn"
    CHANCE = "chance"


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What was weighed, and the worker that was chosen.

    `hashes` are those of the full blocks of the prompt, `tokens`; `prompt_blocks` counts a partial last block too.
    `candidates` has one entry for each worker that could be chosen, in ascending order of worker. `output_tokens` is
    what the client expects of the answer. `passed_over`: leading blocks that workers have, in any tier, which could not
    be chosen.
    """

    worker: int
    reason: Reason
    tokens: Tokens
    hashes: Hashes
    prompt_tokens: int
    prompt_blocks: int
    candidates: tuple[Candidate, ...]
    session_id: str | None = None
    output_tokens: int | None = None
    passed_over: Mapping[int, int] = field(default_factory=dict)

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
        return self.chosen.prospect.missing_blocks


def why(worker: int, reason: Reason, candidates: tuple[Candidate, ...]) -> str:
    """One phrase for the operator."""
    match reason:
        case Reason.ONLY:
            return "the only candidate"
        case Reason.TURN:
            return "its turn"
        case Reason.CHANCE:
            return "by chance"
        case Reason.TIE:
            return "drawn by lot among equal costs"
        case Reason.COST:
            return _beaten(worker, candidates)


def _beaten(worker: int, candidates: tuple[Candidate, ...]) -> str:
    """By how much the next best costs more, and which part of the cost makes most of that."""
    chosen = next(candidate for candidate in candidates if candidate.worker == worker)
    others = [candidate for candidate in candidates if candidate is not chosen]
    second = min(others, key=lambda candidate: candidate.cost.total_seconds)
    more = second.cost.total_seconds - chosen.cost.total_seconds
    signs = [-1 if name == "affinity_seconds" else 1 for name in Cost._fields]
    pairs = zip(Cost._fields, signs, chosen.cost, second.cost, strict=True)
    differences = {name: sign * (theirs - ours) for name, sign, ours, theirs in pairs}
    # Both follow from the missing tokens; only one of them is a reason that means something to a reader.
    differences["prefill_seconds"] += differences.pop("crowding_seconds")
    part = max(differences, key=lambda name: differences[name]).removesuffix("_seconds")
    return f"{more:.3g} s less than worker {second.worker}, most of it {part}"
