"""Router, mirrors and index together: conversations over simulated workers that report what they cache."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from appliance.router.events import Batch, BlockStored
from appliance.router.hashing import hash_blocks
from appliance.router.index import PrefixIndex
from appliance.router.mirror import WorkerMirror
from appliance.router.router import Router, RoutingPolicy

BLOCK_TOKENS = 16
CONVERSATIONS, TURNS = 8, 4
SYSTEM_TOKENS, TURN_TOKENS = 800, 1600


class SimulatedWorker:
    """An unbounded cache that computes a prompt at once and publishes what is new."""

    def __init__(self, mirror: WorkerMirror) -> None:
        self.mirror = mirror
        self.cached: set[int] = set()

    def run(self, token_ids: list[int]) -> int:
        """Blocks read from cache."""
        hashes = hash_blocks(token_ids, BLOCK_TOKENS).tolist()
        hits = next((depth for depth, name in enumerate(hashes) if name not in self.cached), len(hashes))
        new = token_ids[hits * BLOCK_TOKENS : len(hashes) * BLOCK_TOKENS]
        self.cached.update(hashes)
        event = BlockStored(
            block_hashes=array("Q", hashes[hits:]),
            parent_block_hash=hashes[hits - 1] if hits else None,
            token_ids=array("I", new),
            block_size=BLOCK_TOKENS,
            medium="GPU",
            group_idx=0,
        )
        self.mirror.apply(Batch(0.0, (event,)))
        return hits


class ClosedLoop:
    """In each turn all conversations ask at once, in a shuffled order, and each waits for its answer."""

    def __init__(self, policy: RoutingPolicy, num_workers: int, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  a seeded test
        self.index = PrefixIndex()
        self.workers = [SimulatedWorker(WorkerMirror(w, self.index, BLOCK_TOKENS)) for w in range(num_workers)]
        self.router = Router(self.index, range(num_workers), policy, block_tokens=BLOCK_TOKENS, random=self.random)
        self.requests_of = [0] * num_workers
        self.conversations = [list(range(SYSTEM_TOKENS)) for _ in range(CONVERSATIONS)]

    def run(self) -> int:
        """Blocks read from cache over all turns."""
        return sum(self._turn() for _ in range(TURNS))

    def _turn(self) -> int:
        self.random.shuffle(self.conversations)
        hits, tickets = 0, []
        for token_ids in self.conversations:
            token_ids += [self.random.randrange(100_000) for _ in range(TURN_TOKENS)]
            ticket = self.router.admit(self.router.route(token_ids))
            hits += self.workers[ticket.worker].run(token_ids)
            ticket.first_token()
            self.requests_of[ticket.worker] += 1
            tickets.append(ticket)
        for ticket in tickets:
            ticket.close()
        for worker in self.workers:
            worker.mirror.check_integrity()
            assert worker.mirror.num_blocks == len(worker.cached)
        return hits


@pytest.mark.parametrize("seed", range(5))
def test_kv_reads_what_one_big_cache_would_and_random_clearly_less(seed: int) -> None:
    unbounded = ClosedLoop(RoutingPolicy.KV, num_workers=1, seed=seed).run()
    kv = ClosedLoop(RoutingPolicy.KV, num_workers=2, seed=seed)
    assert kv.run() >= 0.95 * unbounded
    assert ClosedLoop(RoutingPolicy.RANDOM, num_workers=2, seed=seed).run() <= 0.8 * unbounded


@pytest.mark.parametrize("seed", range(5))
def test_kv_gives_both_workers_an_equal_share_of_the_conversations(seed: int) -> None:
    loop = ClosedLoop(RoutingPolicy.KV, num_workers=2, seed=seed)
    loop.run()
    assert max(loop.requests_of) <= 0.6 * CONVERSATIONS * TURNS
