from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import SetAside
from appliance.router.errors import IntegrityError
from appliance.router.index import PrefixIndex
from appliance.router.places import Errand, Place, Places
from appliance.router.queue import Importance
from appliance.router.room import Lack
from appliance.router.router import Router, RoutingPolicy


class Bench:
    def __init__(self) -> None:
        self.router = Router(
            PrefixIndex(),
            [0],
            RoutingPolicy.KV,
            block_tokens=2,
            random=random.Random(1),  # noqa: S311 – breaks ties
        )
        self.places = Places()
        self.number = 0

    def place(self, *, blocks: int = 3, answer: int = 2, tier: int = 0, priority: int = 0, can: bool = True) -> Place:
        decision = self.router.route([1, 2, 3, 4, 5, 6])
        errand = Errand(
            str(self.number),
            lambda _: decision,
            self.router.admit,
            tier,
            priority,
            set_aside=(lambda _: None) if can else None,
        )
        self.number += 1
        ticket = self.router.admit(decision)
        place = Place(errand, decision, ticket, blocks, answer, self.number, self.places.read, self.places.remove)
        self.places.add(place)
        return place

    def victim(self, importance: Importance, lack: Lack = Lack.SEATS) -> str | None:
        place = self.places.victim(0, importance, lack)
        return None if place is None else place.errand.name


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["start", "close", "open"]))))
def test_the_sums_are_those_of_the_open_places(steps: list[tuple[int, str]]) -> None:
    bench = Bench()
    places: list[Place] = []
    for pick, what in steps:
        if what == "open" or not places:
            places.append(bench.place(blocks=3 + pick, answer=pick))
        elif what == "start" and not places[pick % len(places)].is_closed:
            places[pick % len(places)].advance(1)
        else:
            places[pick % len(places)].close()
        bench.places.check_integrity()
        bench.router.check_integrity()
    for place in places:
        place.close()
        place.close()
    assert (len(bench.places), bench.places.unread_blocks(0), bench.places.answer_blocks(0)) == (0, 0, 0)


def test_a_prompt_is_unread_until_its_first_token() -> None:
    bench = Bench()
    place = bench.place(blocks=3, answer=2)
    assert (bench.places.unread_blocks(0), bench.places.answer_blocks(0)) == (3, 2)
    place.advance(1)
    assert (bench.places.unread_blocks(0), bench.places.answer_blocks(0)) == (0, 2)
    assert bench.router.snapshot()[0].prefill_blocks == 0


def test_a_request_that_an_engine_did_not_let_go_of_learns_it_with_its_first_token() -> None:
    place = Bench().place()
    place.close()
    with pytest.raises(SetAside):
        place.advance(1)


def test_the_least_important_that_can_come_back_makes_room_and_of_several_the_last() -> None:
    bench = Bench()
    for tier, priority, can in ((0, -2, False), (0, -1, True), (0, -1, True), (1, -9, True), (0, 3, True)):
        bench.place(tier=tier, priority=priority, can=can)
    assert bench.victim(Importance(1, 0)) == "2"
    assert bench.victim(Importance(0, -1)) is None


def test_only_a_prompt_that_is_still_read_makes_room_for_another_prompt() -> None:
    bench = Bench()
    read = bench.place(priority=-5)
    bench.place(priority=-1)
    read.advance(1)
    assert bench.victim(Importance(0, 0), Lack.PREFILL) == "1"
    assert bench.victim(Importance(0, 0), Lack.MEMORY) == "0"


def test_the_check_finds_a_place_that_was_closed_behind_its_back() -> None:
    bench = Bench()
    place = bench.place()
    place.is_closed = True
    with pytest.raises(IntegrityError, match="a closed place"):
        bench.places.check_integrity()
    bench.places._held[0].unread_blocks += 1
    with pytest.raises(IntegrityError, match="4 unread blocks, not 3"):
        bench.places.check_integrity()
