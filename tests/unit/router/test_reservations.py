from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.router.errors import IntegrityError, NoSuchReservation, TooManyReservations
from appliance.router.hashing import hash_blocks
from appliance.router.load import Loads
from appliance.router.reservations import Reservations


class Places:
    """Reservations for one worker, over a clock that is set by hand."""

    def __init__(self, most: int = 4) -> None:
        self.now = 0.0
        self.loads = Loads(4, lambda: self.now)
        self.reservations = Reservations(lambda: self.now, most)

    def take(self, name: str, seconds: float = 10.0) -> None:
        ticket = self.loads.admit(0, hash_blocks(range(8), 4), prompt_tokens=8, uncached_blocks=2)
        self.reservations.take(name, ticket, seconds)

    @property
    def running(self) -> int:
        return self.loads.of(0).running


def test_a_place_weighs_until_it_is_freed() -> None:
    places = Places()
    places.take("a")
    assert places.running == 1
    places.reservations.free("a")
    assert places.running == 0
    with pytest.raises(NoSuchReservation, match="'a'"):
        places.reservations.free("a")


def test_a_place_is_given_back_when_its_time_is_over() -> None:
    places = Places()
    places.take("long", 30.0)
    places.take("short", 10.0)
    places.now = 9.9
    places.reservations.expire()
    assert places.running == 2
    places.now = 10.0
    places.reservations.expire()
    assert places.running == 1
    places.now = 31.0
    with pytest.raises(NoSuchReservation):
        places.reservations.free("long")
    assert places.running == 0


def test_no_more_places_than_there_may_be_and_one_that_is_over_makes_room() -> None:
    places = Places(most=2)
    places.take("a", 1.0)
    places.take("b")
    with pytest.raises(TooManyReservations, match="2 places"):
        places.reservations.check_room()
    places.now = 1.0
    places.take("c")
    places.reservations.check_integrity()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.booleans()), max_size=100))
def test_taking_and_freeing_leaves_what_a_plain_table_has(steps: list[tuple[int, int, bool]]) -> None:
    places, ends = Places(most=3), dict[str, float]()
    for number, (name, seconds, is_freed) in enumerate(steps):
        places.now += 1
        ends = {key: end for key, end in ends.items() if end > places.now}
        if is_freed and ends:
            gone = sorted(ends)[name % len(ends)]
            places.reservations.free(gone)
            del ends[gone]
        elif len(ends) < 3:
            places.reservations.expire()
            places.take(f"p{number}", seconds + 0.5)
            ends[f"p{number}"] = places.now + seconds + 0.5
        places.reservations.expire()
        places.reservations.check_integrity()
        assert len(places.reservations) == places.running == len(ends)


def test_the_check_finds_a_place_without_an_end() -> None:
    places = Places()
    places.take("a")
    places.reservations._ends.clear()
    with pytest.raises(IntegrityError, match="0 ends"):
        places.reservations.check_integrity()
