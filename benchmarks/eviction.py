"""The eviction core: millions of block operations a second on one core, from 10⁴ to 10⁷ blocks.

`python -m benchmarks.eviction` fills a core with prompts of 512 blocks, uses them again in another order, lets their
claims run out and evicts them for the next prompts, over and over. A call is for one prompt, but for `expire`, where
all claims run out at once. One operation is one block in one call; each figure is the median of the rounds, in
processor time of the one thread.

Prompts lie in a row where their blocks came free together, as they mostly do; `--scattered` starts with the free blocks
in random order instead, and no two blocks of a prompt are ever neighbours: the worst case for the processor's caches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.cache.eviction import NO_BLOCK, EvictionCore, Order

PROMPT_BLOCKS = 512
NUM_SESSIONS = 1024
DURATION_MS = 60_000
COLUMNS = ("take", "fill", "claim", "release", "hit", "hold", "expire")

Rates = dict[str, list[float]]
Prompt = tuple[int, NDArray[np.int64]]


class Rounds:
    """One core that is filled, used and emptied again and again; rates in operations a second."""

    def __init__(self, num_blocks: int, order: Order, *, scattered: bool = False) -> None:
        self.rates: Rates = defaultdict(list)
        self._core = EvictionCore(num_blocks, num_sessions=NUM_SESSIONS, order=order)
        self._num_prompts = num_blocks // PROMPT_BLOCKS
        self._random = np.random.default_rng(4)
        self._core.set_keeps(self._random.random(NUM_SESSIONS))
        self._seconds: dict[str, float] = {}
        self._now_ms = 0
        if scattered:
            self._core.release(self._random.permutation(self._core.take(num_blocks, 0).blocks), 0)

    def run(self) -> None:
        """One round: insert everything (and evict what was there), touch everything, let everything run out."""
        self._seconds = dict.fromkeys(COLUMNS, 0.0)
        prompts = [self._insert() for _ in range(self._num_prompts)]
        for session, blocks in self._shuffled(prompts):
            self._timed("hit", self._core.hit, blocks, session, self._now_ms)
        for _, blocks in self._shuffled(prompts):
            self._timed("hold", self._core.hold, blocks, self._now_ms)
        for _, blocks in self._shuffled(prompts):
            self._timed("release", self._core.release, blocks, self._now_ms)
        self._now_ms += DURATION_MS
        fallen = self._timed("expire", self._core.expire, self._now_ms)
        num_blocks = self._num_prompts * PROMPT_BLOCKS
        counts = dict.fromkeys(COLUMNS, num_blocks) | {"release": 2 * num_blocks, "expire": fallen}
        for name, count in counts.items():
            self.rates[name].append(count / self._seconds[name])

    def _insert(self) -> Prompt:
        session = int(self._random.integers(NUM_SESSIONS))
        self._now_ms += 1
        self._core.start_prompt(session)
        blocks = self._timed("take", self._core.take, PROMPT_BLOCKS, self._now_ms).blocks
        parents = np.concatenate([[NO_BLOCK], blocks[:-1]])
        self._timed("fill", self._core.fill, blocks, parents, session, self._now_ms)
        self._timed("claim", self._core.claim, session, blocks, 50, DURATION_MS, self._now_ms)
        self._timed("release", self._core.release, blocks, self._now_ms)
        return session, blocks

    def _shuffled(self, prompts: list[Prompt]) -> Iterator[Prompt]:
        self._now_ms += 1
        return (prompts[i] for i in self._random.permutation(len(prompts)))

    def _timed(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        start = time.thread_time()
        result = call(*args)
        self._seconds[name] += time.thread_time() - start
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--rounds", type=int, default=5, help="of the largest size; smaller ones get more (default: 5)")
    parser.add_argument("--scattered", action="store_true", help="free blocks in random order at the start")
    options = parser.parse_args()
    print("million operations a second, one core\n")
    print("| order | blocks | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for order in Order:
        for num_blocks in options.blocks:
            rounds = Rounds(num_blocks, order, scattered=options.scattered)
            Rounds(PROMPT_BLOCKS, order).run()  # compiles
            for _ in range(max(options.rounds, min(100, 2 * 10**6 // num_blocks))):
                rounds.run()
            figures = [statistics.median(rounds.rates[name]) / 1e6 for name in COLUMNS]
            print(
                f"| {order} | {num_blocks:,} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |", flush=True
            )


if __name__ == "__main__":
    main()
