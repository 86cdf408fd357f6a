from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from appliance.router.decision import Decision
from appliance.router.errors import NoWorker
from appliance.router.hashing import Hashes
from appliance.router.index import PrefixIndex
from appliance.router.places import Errand, Place
from appliance.router.room import Capacity, Lack
from appliance.router.rooms import Rooms
from appliance.router.router import Router, RoutingPolicy


@dataclass
class FakeEngines:
    gone: set[int] = field(default_factory=set)
    usage: float | None = None

    def ids(self) -> frozenset[int]:
        return frozenset({0, 1})

    def dead(self) -> frozenset[int]:
        return frozenset(self.gone)

    def capacity(self, worker_id: int) -> Capacity:
        return Capacity(seats=2, step_tokens=8, kv_blocks=20)

    def kv_usage(self, worker_id: int) -> float | None:
        return self.usage

    def protect(self, worker_id: int, name: str, hashes: Hashes) -> None: ...

    def release(self, worker_id: int, name: str) -> None: ...


class Bench:
    def __init__(self) -> None:
        self.engines = FakeEngines()
        self.changed: list[Place] = []
        self.router = Router(
            PrefixIndex(),
            (0, 1),
            RoutingPolicy.ROUND_ROBIN,
            block_tokens=4,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )
        self.rooms = Rooms(self.router, self.engines, self.changed.append)

    def errand(self, num_tokens: int = 16, **fields: Any) -> Errand:
        return Errand("e", partial(self._choose, list(range(num_tokens))), self.router.admit, **fields)

    def seat(self, errand: Errand) -> Place:
        return self.rooms.seat(errand, self.rooms.route(errand))

    def lack(self, worker: int, errand: Errand, *, is_background: bool = False) -> Lack | None:
        return self.rooms.lack(worker, errand, errand.choose(frozenset()), is_background=is_background)

    def _choose(self, tokens: list[int], exclude: frozenset[int]) -> Decision:
        return self.router.route(tokens, exclude=exclude)


def test_a_pin_is_followed_while_its_worker_lives_and_is_not_to_be_avoided() -> None:
    bench = Bench()
    assert [bench.rooms.route(bench.errand(pin=1)).worker for _ in range(3)] == [1, 1, 1]
    assert bench.rooms.route(bench.errand(pin=1, avoid=frozenset({1}))).worker == 0
    bench.engines.gone.add(1)
    assert bench.rooms.route(bench.errand(pin=1)).worker == 0
    assert bench.rooms.route(bench.errand(pin=9)).worker == 0


def test_a_worker_to_be_avoided_is_better_than_none_and_a_dead_one_is_not() -> None:
    bench = Bench()
    bench.engines.gone.add(1)
    assert bench.rooms.route(bench.errand(avoid=frozenset({0}))).worker == 0
    bench.engines.gone.add(0)
    with pytest.raises(NoWorker, match="no worker is alive"):
        bench.rooms.route(bench.errand())


def test_each_worker_lacks_what_its_own_places_take() -> None:
    bench = Bench()
    errand = bench.errand(pin=0)
    place = bench.seat(errand)
    assert (bench.lack(0, errand), bench.lack(1, errand)) == (Lack.PREFILL, None)
    assert (bench.rooms.prefill_tokens(0), bench.rooms.busy_share()) == (16, 0.5)
    place.advance(1)
    assert (bench.lack(0, errand), bench.rooms.prefill_tokens(0), bench.rooms.busy_share()) == (None, 0, 0.0)
    assert bench.lack(0, bench.errand(answer_tokens=52)) is Lack.MEMORY
    assert bench.lack(0, bench.errand(answer_tokens=48)) is None
    assert bench.lack(0, errand, is_background=True) is Lack.SEATS
    place.close()
    assert bench.changed == [place, place]
    assert bench.rooms.is_empty()


def test_what_the_engine_says_of_its_memory_counts_when_it_is_less() -> None:
    bench = Bench()
    bench.seat(bench.errand(64, pin=0)).advance(1)
    assert bench.lack(0, bench.errand(64)) is Lack.MEMORY
    bench.engines.usage = 0.2
    assert bench.lack(0, bench.errand(64)) is None


def test_real_work_ends_what_is_there_because_there_was_time_and_only_on_its_worker() -> None:
    bench = Bench()
    ended: list[int] = []
    guests = [bench.seat(bench.errand(pin=worker, give_way=partial(ended.append, worker))) for worker in (0, 1)]
    bench.seat(bench.errand(pin=1))
    assert ended == [1]
    assert [guest.is_closed for guest in guests] == [False, True]
    bench.rooms.places.check_integrity()
    bench.router.check_integrity()
