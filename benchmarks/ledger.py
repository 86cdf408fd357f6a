"""What noting and explaining a request costs: in the loop that serves, and in the thread beside it.

python -m benchmarks.ledger
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from appliance.cache.ledger import Source, TokenRange
from appliance.cache.region import Region
from appliance.cache.region_map import Origin, RegionMap, Span
from appliance.conversation import Conversation, Identity, Message, Role, Text
from appliance.explainer import Explainer
from appliance.records import Outcome
from appliance.request_book import RequestBook
from appliance.request_entry import Ending
from appliance.router.index import PrefixIndex
from appliance.router.router import Router, RoutingPolicy

BLOCK_TOKENS = 16
ANSWER_TOKENS = 500
READ_TOKENS = 4096
ROUNDS = 40
FIRST_COUNTED = 4
CONVERSATION = Conversation(
    "m", (Message(Role.USER, (Text("?"),)),), identity=Identity(session_id="s", client="benchmark")
)

T = TypeVar("T")


class Stopwatch:
    def __init__(self) -> None:
        self.milliseconds: list[float] = []

    def time(self, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        done = work()
        self.milliseconds.append(1000 * (time.perf_counter() - began))
        return done

    def __str__(self) -> str:
        counted = self.milliseconds[FIRST_COUNTED:]
        return f"{statistics.median(counted):7.3f} ms, at most {max(counted):.3f}"


async def main() -> None:
    for size in (8192, 200_000):
        route, loop, thread = Stopwatch(), Stopwatch(), Stopwatch()
        await turns(size, route, loop, thread)
        print(f"{size:,} tokens: routed in {route}; noted in {loop}; explained in {thread}")


async def turns(size: int, route: Stopwatch, loop: Stopwatch, thread: Stopwatch) -> None:
    """A session whose every turn has another end; most of what it had is evicted by nobody, the dearest case."""
    router = Router(PrefixIndex(), [0, 1], RoutingPolicy.KV, block_tokens=BLOCK_TOKENS, random=random.Random(1))  # noqa: S311 – the same each time
    explainer = Explainer(BLOCK_TOKENS)
    explainer.seen.warm_up()
    book = RequestBook(explainer)
    explain = explainer.explain
    explainer.explain = lambda entry: thread.time(lambda: explain(entry))  # type: ignore[method-assign]
    regions = RegionMap(
        [Span(0, size // 2, Region.SYSTEM, Origin(0, 0)), Span(size // 2, size, Region.USER, Origin(1, 0))]
    )
    draw = np.random.default_rng(0)
    base = draw.integers(0, 50_000, size).tolist()
    for number in range(ROUNDS):
        tokens = [*base[: size - 500 - number], *draw.integers(0, 50_000, 500 + number).tolist()]
        answer = draw.integers(0, 50_000, ANSWER_TOKENS).tolist()
        decision = route.time(partial(router.route, tokens))

        def note(number: int = number, tokens: list[int] = tokens, answer: list[int] = answer) -> None:
            entry = book.draft(f"r{number}", CONVERSATION, regions, len(tokens), 0.0)
            book.began(entry)
            book.sent(entry, decision)  # noqa: B023 – called at once
            book.read(entry, (TokenRange(0, READ_TOKENS, Source.GPU),), 0.1)
            hashes = router.hashes_with(decision, answer[:-1])  # noqa: B023 – called at once
            book.ended(entry, Ending(Outcome.FINISHED, "stop", len(answer), 1.0, answer, hashes, "idle"))

        loop.time(note)
        await book.settle()


if __name__ == "__main__":
    asyncio.run(main())
