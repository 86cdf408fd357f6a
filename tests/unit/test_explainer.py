from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count

from appliance.cache.ledger import Source, TokenRange
from appliance.conversation import Identity
from appliance.explainer import Explainer
from appliance.request_entry import Entry, Sent, entry_of
from appliance.router.hashing import Hashes, hash_blocks
from appliance.router.index import PrefixIndex, Tier
from appliance.router.router import Router, RoutingPolicy
from tests.unit.scripted_worker import conversation

BLOCK = 4
PROMPT = list(range(30))


class Engines:
    """Two of them, asked in turn, the first one first; what they hold is what a test says."""

    def __init__(self, *, is_cacheable: bool = True) -> None:
        self.index = PrefixIndex()
        self.router = Router(
            self.index,
            [0, 1],
            RoutingPolicy.ROUND_ROBIN,
            block_tokens=BLOCK,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )
        self.explainer = Explainer(BLOCK, is_cacheable=is_cacheable)
        self._numbers = count(1)

    def ask(
        self,
        tokens: Sequence[int],
        cached_tokens: int = 0,
        session: str | None = "s",
        full: frozenset[int] = frozenset(),
    ) -> list[tuple[int, int, str]]:
        told = conversation(identity=Identity(session_id=session))
        entry = entry_of(next(self._numbers), "r", told, None, len(tokens), 0.0)
        decision = self.router.route(tokens, exclude=full)
        entry.sent = Sent(decision, self.explainer.met(decision.hashes), 1.0)
        self.router.admit(decision).close()
        return self._explained(entry, cached_tokens)

    def _explained(self, entry: Entry, cached_tokens: int) -> list[tuple[int, int, str]]:
        assert entry.sent is not None
        entry.read = (TokenRange(0, cached_tokens, Source.GPU),) if cached_tokens else ()
        entry.read_at = 2.0
        self.explainer.computed(entry.sent.decision.hashes, entry.number)
        return [(one.start, one.end, one.reason or one.source) for one in self.explainer.explain(entry)]


def hashes(tokens: Sequence[int]) -> Hashes:
    return hash_blocks(tokens, BLOCK)


def test_what_the_other_worker_has_was_routed_elsewhere() -> None:
    engines = Engines()
    engines.index.store(1, hashes(PROMPT)[:5])
    assert engines.ask(PROMPT)[:2] == [(0, 20, "routed_elsewhere"), (20, 28, "first_request")]


def test_what_a_worker_has_that_was_full_was_routed_elsewhere() -> None:
    engines = Engines()
    engines.index.store(1, hashes(PROMPT)[:5])
    assert engines.ask(PROMPT, full=frozenset({1}))[:2] == [(0, 20, "routed_elsewhere"), (20, 28, "first_request")]


def test_what_a_shared_tier_had_and_did_not_give_has_failed_and_was_not_elsewhere() -> None:
    engines = Engines()
    engines.index.store(1, hashes(PROMPT)[:5])
    for worker in (0, 1):
        engines.index.mark(worker, hashes(PROMPT)[:3], Tier.HOST)
    assert engines.ask(PROMPT)[:2] == [(0, 12, "tier_failed"), (12, 20, "routed_elsewhere")]


def test_what_was_asked_for_by_anybody_is_known_and_what_its_own_worker_has_is_read() -> None:
    engines = Engines()
    assert engines.ask(PROMPT, session="a") == [(0, 28, "first_request"), (28, 30, "below_block_boundary")]
    assert engines.ask([*PROMPT, 31, 32, 33], 8, session="b") == [
        (0, 8, "gpu"),
        (8, 28, "evicted"),
        (28, 30, "below_block_boundary"),
        (30, 32, "first_request"),
        (32, 33, "below_block_boundary"),
    ]


def test_a_session_that_changes_something_diverges_up_to_where_it_had_been() -> None:
    engines = Engines()
    engines.ask(PROMPT[:22])
    changed = [*PROMPT[:9], 99, *PROMPT[10:]]
    assert engines.ask(changed, 8) == [
        (0, 8, "gpu"),
        (8, 9, "below_block_boundary"),
        (9, 22, "diverged"),
        (22, 28, "first_request"),
        (28, 30, "below_block_boundary"),
    ]


def test_two_requests_at_once_compute_what_neither_had_when_it_was_sent() -> None:
    engines = Engines()
    decision = engines.router.route(PROMPT)
    early = engines.explainer.met(decision.hashes)
    engines.ask(PROMPT)
    assert (early.blocks, engines.explainer.met(decision.hashes).blocks) == (0, 7)


def test_an_engine_that_keeps_no_prefixes_is_blamed_for_all() -> None:
    assert Engines(is_cacheable=False).ask(PROMPT) == [(0, 30, "not_cacheable")]


def test_one_that_no_engine_has_read_has_no_ranges() -> None:
    entry = entry_of(1, "r", conversation(), None, 5, 0.0)
    assert Engines().explainer.explain(entry) == ()
