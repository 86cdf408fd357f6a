from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.router.scoring import Candidate, weigh

counts = st.integers(0, 1000)


def candidate(
    worker: int = 0, *, prompt: int, overlap: int = 0, pending: int = 0, prefill: int = 0, context: int = 0
) -> Candidate:
    return weigh(
        worker,
        prompt_blocks=prompt,
        overlap_blocks=overlap,
        pending_blocks=pending,
        prefill_blocks=prefill,
        context_blocks=context,
    )


def test_cost_is_weighted_misses_plus_queued_prefill_plus_weighted_context() -> None:
    weighed = candidate(3, prompt=100, overlap=40, pending=10, prefill=7, context=80)
    assert weighed == Candidate(3, 40, 10, load_blocks=7 + 20.0, cost=2 * 50 + 7 + 20.0)


@given(st.integers(1, 10_000))
def test_a_shared_prefix_holds_up_to_eight_like_requests_at_any_length(prompt: int) -> None:
    idle = candidate(prompt=prompt)
    assert candidate(prompt=prompt, overlap=prompt, context=7 * prompt).cost < idle.cost
    assert candidate(prompt=prompt, overlap=prompt, context=9 * prompt).cost > idle.cost


@given(st.integers(1, 10_000))
def test_waiting_for_a_prefix_beats_computing_it_again(prompt: int) -> None:
    waiting = candidate(prompt=prompt, pending=prompt, prefill=prompt, context=prompt)
    assert waiting.cost < candidate(prompt=prompt).cost


@given(counts, counts, counts, counts, counts)
def test_pending_overlap_counts_like_held_overlap(
    prompt: int, overlap: int, pending: int, prefill: int, context: int
) -> None:
    mixed = candidate(prompt=prompt, overlap=overlap, pending=pending, prefill=prefill, context=context)
    held = candidate(prompt=prompt, overlap=overlap + pending, prefill=prefill, context=context)
    assert mixed.cost == held.cost
