from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from appliance.accounting import QueueAccount
from appliance.errors import NotReady, TooManyRequests
from appliance.router.errors import IntegrityError
from appliance.router.index import PrefixIndex
from appliance.router.places import Errand
from appliance.router.router import Router, RoutingPolicy
from appliance.waiting_room import MAX_RETRY_SECONDS, QueueLimits, Waiter, WaitingRoom
from tests.unit.test_dispatcher import FakeEngines


class Bench:
    def __init__(self, depth: int = 2, wait_seconds: float = 60.0) -> None:
        self.seconds = 0.0
        self.engines = FakeEngines(2)
        self.account = QueueAccount()
        self.room = WaitingRoom(
            self.engines, QueueLimits(depth, wait_seconds, None), self.account, lambda: self.seconds
        )
        self.router = Router(
            PrefixIndex(),
            (0, 1),
            RoutingPolicy.KV,
            block_tokens=4,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )

    def enter(self, name: str, **fields: Any) -> Waiter:
        choose = partial(self.router.route, list(range(8)))
        errand = Errand(name, lambda exclude: choose(exclude=exclude), self.router.admit, **fields)
        waiter = self.room.enter(errand, choose(exclude=frozenset({1})), missing_tokens=8)
        self.room.check_integrity()
        return waiter


async def test_whoever_moves_has_waited_as_long_as_before_and_its_blocks_are_kept_where_it_is() -> None:
    bench = Bench()
    waiter = bench.enter("a")
    assert set(bench.engines.protected) == {(0, "a")}
    bench.seconds = 7.0
    assert waiter.entry is not None
    bench.room.move(waiter.entry, bench.router.route(range(8), exclude=frozenset({0})), 4)
    bench.room.check_integrity()
    assert set(bench.engines.protected) == {(1, "a")}
    assert (bench.room.oldest_seconds(), bench.room.queue.tokens(1), bench.room.queue.lanes) == (7.0, 4, [1])


async def test_whoever_is_taken_keeps_its_blocks_and_whoever_leaves_does_not() -> None:
    bench = Bench()
    first, second = bench.enter("a"), bench.enter("b")
    assert first.entry is not None
    assert second.entry is not None
    assert bench.room.take(first.entry) is first
    assert bench.room.leave(second.entry) is second
    assert (set(bench.engines.protected), len(bench.room)) == ({(0, "a")}, 0)


@pytest.mark.parametrize(("waited", "told"), [(0.0, 1), (0.2, 1), (6.1, 7), (900.0, MAX_RETRY_SECONDS)])
async def test_a_refusal_tells_how_long_the_last_had_to_wait(waited: float, told: int) -> None:
    bench = Bench(depth=1)
    bench.account.taken(waited)
    bench.account.taken(0.0)
    bench.enter("a")
    with pytest.raises(TooManyRequests) as caught:
        bench.enter("b")
    assert caught.value.retry_after_seconds == told
    assert caught.value.hint == f"Try again in {told} s."


async def test_everybody_is_told_when_it_closes() -> None:
    bench = Bench()
    futures = [bench.enter(name).future for name in "ab"]
    bench.room.close("The box is shutting down.")
    assert all(isinstance(future.exception(), NotReady) for future in futures)
    assert (len(bench.room), bench.engines.protected) == (0, {})


async def test_somebody_who_has_given_up_is_not_told() -> None:
    bench = Bench(wait_seconds=5.0)
    waiter = bench.enter("a")
    waiter.future.cancel()
    bench.seconds = 5.0
    bench.room.expire()
    assert (len(bench.room), bench.account.refused) == (0, {"timeout": 1})


def _forget_entry(room: WaitingRoom, waiter: Waiter) -> None:
    waiter.entry = None


def _forget_waiter(room: WaitingRoom, waiter: Waiter) -> None:
    room._waiters.clear()


@pytest.mark.parametrize("break_", [_forget_entry, _forget_waiter])
async def test_the_check_finds_who_is_lost(break_: Callable[[WaitingRoom, Waiter], None]) -> None:
    bench = Bench()
    break_(bench.room, bench.enter("a"))
    with pytest.raises(IntegrityError, match="waiting room"):
        bench.room.check_integrity()
    await asyncio.sleep(0)
