from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.cache.explain import Facts, Gone, Loss, explain, nothing_lost, unexplained_tokens
from appliance.cache.ledger import Blame, Divergence, Reason, Source, TokenRange
from tests.examples import examples

GPU = (TokenRange(0, 8, Source.GPU),)


def loss(
    at: float = 5.0, *, request: str = "r", worker: int = 0, owner: str | None = "s", expired: bool = False
) -> Loss:
    return Loss(Blame("t", request, "rule:1", 35, at, 2.0), worker, owner, expired)


def reasons(facts: Facts) -> list[tuple[int, int, str]]:
    return [(one.start, one.end, one.reason or one.source) for one in explain(facts)]


def test_a_first_request_is_new_but_for_the_block_that_no_cache_can_give() -> None:
    facts = Facts(prompt_tokens=22, block_tokens=4, read=(), worker=0)
    assert reasons(facts) == [(0, 20, "first_request"), (20, 22, "below_block_boundary")]


def test_the_last_token_is_computed_even_where_it_fills_its_block() -> None:
    facts = Facts(prompt_tokens=12, block_tokens=4, read=GPU, worker=0, known_blocks=3)
    assert reasons(facts) == [(0, 8, "gpu"), (8, 12, "below_block_boundary")]


def test_what_a_turn_adds_is_new_and_what_it_found_in_no_full_block_is_below_the_boundary() -> None:
    facts = Facts(prompt_tokens=22, block_tokens=4, read=GPU, worker=0, known_blocks=2, shared_tokens=11)
    found = [(0, 8, "gpu"), (8, 11, "below_block_boundary"), (11, 20, "first_request")]
    assert reasons(facts) == [*found, (20, 22, "below_block_boundary")]


def test_a_divergence_begins_with_its_first_token_and_ends_where_the_earlier_prompt_did() -> None:
    other = Divergence(10, "system")
    facts = Facts(22, 4, GPU, 0, known_blocks=2, shared_tokens=10, differs_until=15, divergence=other)
    found = explain(facts)
    assert [(one.start, one.end, one.reason) for one in found[1:]] == [
        (8, 10, Reason.BELOW_BLOCK_BOUNDARY),
        (10, 15, Reason.DIVERGED),
        (15, 20, Reason.FIRST_REQUEST),
        (20, 22, Reason.BELOW_BLOCK_BOUNDARY),
    ]
    assert [one.divergence for one in found] == [None, None, other, None, None]


def test_what_another_worker_has_was_routed_elsewhere_even_if_it_was_evicted_here() -> None:
    facts = Facts(22, 4, (), 0, known_blocks=5, elsewhere={1: 2, 3: 4, 2: 4}, lost=lambda _: loss())
    assert [(one.start, one.end, one.reason, one.worker) for one in explain(facts)][:2] == [
        (0, 16, Reason.ROUTED_ELSEWHERE, 2),
        (16, 20, Reason.EVICTED, None),
    ]


def test_a_block_behind_an_evicted_one_cannot_be_found_and_has_its_reason() -> None:
    facts = Facts(22, 4, GPU, 0, known_blocks=4, lost={2: loss()}.get)
    assert reasons(facts)[1:] == [
        (8, 16, "evicted"),
        (16, 20, "first_request"),
        (20, 22, "below_block_boundary"),
    ]
    assert unexplained_tokens(explain(facts)) == 0


def test_blame_changes_where_another_request_took_the_room() -> None:
    facts = Facts(
        22, 4, (), 0, known_blocks=3, lost={0: loss(request="a"), 1: loss(6.0, request="a"), 2: loss(request="b")}.get
    )
    blamed = [(one.end, one.blame.request, one.blame.at) for one in explain(facts) if one.blame is not None]
    assert blamed == [(8, "a", 5.0), (12, "b", 5.0)]


def test_a_known_block_that_nobody_told_of_is_evicted_by_nobody() -> None:
    facts = Facts(22, 4, (), 0, known_blocks=3)
    assert reasons(facts)[0] == (0, 12, "evicted")
    assert unexplained_tokens(explain(facts)) == 12


def test_what_went_with_a_whole_worker_says_so_where_nothing_else_was_told() -> None:
    gone = Gone(Blame(None, None, "worker ended", 0, 9.0, 0.0), 1)
    facts = Facts(22, 4, (), 0, known_blocks=4, lost={0: loss()}.get, gone=gone)
    told = explain(facts)[0]
    assert (told.end, told.blame and told.blame.rule, told.worker) == (16, "rule:1", None)
    told = explain(replace(facts, lost=nothing_lost))[0]
    assert (told.end, told.blame, told.worker) == (16, gone.blame, 1)
    assert unexplained_tokens(explain(replace(facts, lost=nothing_lost))) == 0


def test_an_expired_claim_is_told_apart() -> None:
    facts = Facts(22, 4, (), 0, known_blocks=2, lost={0: loss(expired=True), 1: loss()}.get)
    assert reasons(facts)[:2] == [(0, 4, "expired"), (4, 8, "evicted")]


def test_a_tier_that_had_it_and_did_not_give_it_has_failed() -> None:
    facts = Facts(22, 4, GPU, 0, known_blocks=5, here_gpu_blocks=3, here_blocks=4)
    assert reasons(facts)[1:] == [
        (8, 12, "evicted"),
        (12, 16, "tier_failed"),
        (16, 20, "evicted"),
        (20, 22, "below_block_boundary"),
    ]


def test_between_the_decision_and_the_engine_a_block_may_go() -> None:
    facts = Facts(22, 4, GPU, 0, here_gpu_blocks=2, here_blocks=5, lost={2: loss(9.0), 3: loss(3.0)}.get, sent_at=4.0)
    assert reasons(facts)[1:3] == [(8, 12, "evicted"), (12, 20, "tier_failed")]


def test_what_a_request_lost_while_it_was_set_aside_it_lost_by_that() -> None:
    lost = {0: loss(9.0), 1: loss(9.0, owner="other"), 2: loss(3.0)}.get
    facts = Facts(22, 4, (), 0, session="s", lost=lost, set_aside_at=4.0)
    assert reasons(facts)[:2] == [(0, 4, "preempted"), (4, 12, "evicted")]


def test_without_a_prefix_cache_nothing_could_be_read() -> None:
    facts = Facts(22, 4, (), 0, known_blocks=5, is_cacheable=False)
    assert reasons(facts) == [(0, 22, "not_cacheable")]


def test_what_is_read_in_whole_needs_no_reason() -> None:
    assert explain(Facts(8, 4, GPU, 0)) == GPU
    assert explain(Facts(0, 4, (), 0)) == ()


@st.composite
def facts_of(draw: st.DrawFn) -> Facts:
    block_tokens = draw(st.integers(1, 5))
    prompt_tokens = draw(st.integers(1, 40))
    most = prompt_tokens // block_tokens + 1
    blocks = st.integers(0, most)
    gpu, total = sorted((draw(blocks), draw(blocks)))
    cached = min(total * block_tokens, prompt_tokens - 1)
    on_gpu = min(gpu * block_tokens, cached)
    spans = (TokenRange(0, on_gpu, Source.GPU), TokenRange(on_gpu, cached, Source.HOST))
    losses = st.builds(
        loss,
        st.sampled_from([1.0, 5.0, 9.0]),
        request=st.sampled_from("ab"),
        worker=st.integers(0, 1),
        owner=st.sampled_from(["s", "o", None]),
        expired=st.booleans(),
    )
    here_gpu, here = sorted((draw(blocks), draw(blocks)))
    shared = draw(st.integers(0, prompt_tokens))
    return Facts(
        prompt_tokens,
        block_tokens,
        tuple(one for one in spans if one.tokens),
        worker=0,
        session=draw(st.sampled_from(["s", None])),
        known_blocks=draw(blocks),
        here_gpu_blocks=here_gpu,
        here_blocks=here,
        elsewhere=draw(st.dictionaries(st.integers(1, 3), blocks)),
        lost=draw(st.dictionaries(blocks, losses)).get,
        gone=draw(st.sampled_from([None, Gone(Blame(None, None, "worker ended", 0, 3.0, 0.0), 1)])),
        shared_tokens=shared,
        differs_until=draw(st.integers(0, prompt_tokens)),
        divergence=draw(st.sampled_from([None, Divergence(shared, None)])),
        sent_at=4.0,
        set_aside_at=draw(st.sampled_from([None, 6.0])),
        is_cacheable=draw(st.integers(0, 9)) > 0,
    )


def told_of(facts: Facts, block: int) -> tuple[str, object] | None:
    """Of a block that somebody had."""
    lost, first = facts.lost(block), (facts.read[-1].end if facts.read else 0) // facts.block_tokens
    most = max(facts.elsewhere.values(), default=0)
    known = max(first, most, facts.here_blocks, facts.known_blocks)
    if block >= known and (facts.set_aside_at is None or None in map(facts.lost, range(known, block + 1))):
        return None
    if block < facts.here_blocks:
        if lost is None or lost.worker != facts.worker or lost.blame.at < facts.sent_at:
            return ("tier_failed" if block >= facts.here_gpu_blocks else "evicted"), None
    elif block < most:
        return "routed_elsewhere", min(worker for worker, blocks in facts.elsewhere.items() if blocks == most)
    if lost is not None:
        is_late = facts.set_aside_at is not None and lost.blame.at >= facts.set_aside_at
        if is_late and lost.owner is not None and lost.owner == facts.session:
            return "preempted", lost.blame
        return ("expired" if lost.is_expired else "evicted"), lost.blame
    before = told_of(facts, block - 1) if block > first else None
    is_hereditary = before is not None and before[0] in ("evicted", "expired", "preempted")
    return before if is_hereditary else ("evicted", None if facts.gone is None else facts.gone.blame)


def told_of_token(facts: Facts, token: int) -> tuple[str, object]:
    block = token // facts.block_tokens
    end = (block + 1) * facts.block_tokens
    if not facts.is_cacheable:
        return "not_cacheable", None
    if end >= facts.prompt_tokens:
        return "below_block_boundary", None
    if (told := told_of(facts, block)) is not None:
        return told
    if token < facts.shared_tokens < end:
        return "below_block_boundary", None
    if facts.divergence is not None and facts.shared_tokens <= token < facts.differs_until:
        return "diverged", None
    return "first_request", None


@given(facts_of())
@settings(max_examples=examples(400))
def test_ranges_say_of_each_token_what_the_definitions_say(facts: Facts) -> None:
    ranges = explain(facts)
    assert [one.start for one in ranges] == [0, *(one.end for one in ranges)][: len(ranges)]
    assert ranges[-1].end == facts.prompt_tokens
    assert tuple(one for one in ranges if one.source is not Source.RECOMPUTED) == facts.read
    computed = [one for one in ranges if one.source is Source.RECOMPUTED]
    told = [(str(one.reason), one) for one in computed for _ in range(one.tokens)]
    cached = facts.read[-1].end if facts.read else 0
    wanted = [told_of_token(facts, token) for token in range(cached, facts.prompt_tokens)]
    assert [reason for reason, _ in told] == [reason for reason, _ in wanted]
    for (_, one), (_, fact) in zip(told, wanted, strict=True):
        if isinstance(fact, Blame):
            assert one.blame is not None
            assert (one.blame.request, one.blame.rule) == (fact.request, fact.rule)
        else:
            assert (one.worker, one.blame) == (fact, None)
    assert sum(one.divergence is not None for one in ranges) == any(one.reason is Reason.DIVERGED for one in ranges)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_given_to_something(reason: Reason) -> None:
    base: dict[str, Any] = {"prompt_tokens": 22, "block_tokens": 4, "read": (), "worker": 0}
    reached: dict[Reason, dict[str, Any]] = {
        Reason.FIRST_REQUEST: {},
        Reason.DIVERGED: {"divergence": Divergence(0, None), "differs_until": 9},
        Reason.EVICTED: {"known_blocks": 1},
        Reason.EXPIRED: {"known_blocks": 1, "lost": lambda _: loss(expired=True)},
        Reason.ROUTED_ELSEWHERE: {"elsewhere": {1: 1}},
        Reason.BELOW_BLOCK_BOUNDARY: {},
        Reason.NOT_CACHEABLE: {"is_cacheable": False},
        Reason.PREEMPTED: {"session": "s", "set_aside_at": 0.0, "lost": lambda _: loss()},
        Reason.TIER_FAILED: {"here_blocks": 1},
    }
    assert reason in {one.reason for one in explain(Facts(**(base | reached[reason])))}
