from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from appliance.box_events import Dropped, Grouped, PhaseChanged, type_of
from appliance.event_bus import EventBus
from tests.clock import Clock
from tests.unit.scripted_worker import until


def bus_of(most: int = 4, singly: int = 100) -> tuple[EventBus, Clock]:
    clock = Clock()
    return EventBus(7, most_remembered=most, most_singly=singly, clock=clock), clock


def test_events_are_numbered_from_one_and_told_behind_a_number() -> None:
    bus, clock = bus_of()
    for count in range(3):
        clock.seconds += 1
        bus.emit(Dropped("x", count))
    found = bus.after(1)
    assert [(each.number, each.at) for each in found.events] == [(2, 1002.0), (3, 1003.0)]
    assert (found.lost, bus.last, bus.oldest) == (0, 3, 1)
    assert bus.after(3) == ((), 0)


def test_what_is_not_remembered_any_more_is_counted_as_lost() -> None:
    bus, _ = bus_of(most=4)
    for count in range(10):
        bus.emit(Dropped("x", count))
    found = bus.after(2)
    assert [each.number for each in found.events] == [7, 8, 9, 10]
    assert found.lost == 4


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 6))
def test_what_a_reader_reads_and_what_it_lost_is_all_that_happened(bursts: list[int], most: int) -> None:
    bus, _ = bus_of(most=5)
    seen = read = lost = 0
    for burst in bursts:
        for _ in range(burst):
            bus.emit(Dropped("x", 1))
        found = bus.after(seen, most)
        read, lost = read + len(found.events), lost + found.lost
        seen += found.lost + len(found.events)
        assert read + lost == seen <= bus.last


def test_of_many_events_of_a_type_the_rest_is_told_as_one_group_when_the_second_is_over() -> None:
    bus, clock = bus_of(most=100, singly=2)
    for _ in range(5):
        bus.emit(Dropped("x", 1))
    bus.emit(PhaseChanged("running"))
    assert [type_of(each.event) for each in bus.after(0).events] == ["drops", "drops", "phase"]
    clock.seconds += 1
    bus.settle()
    assert bus.after(3).events[0].event == Grouped("drops", 3, 1.0)


def test_the_next_event_of_a_type_ends_its_group_too() -> None:
    bus, clock = bus_of(most=100, singly=1)
    for _ in range(3):
        bus.emit(Dropped("x", 1))
    clock.seconds += 1.5
    bus.emit(Dropped("y", 1))
    assert [each.event for each in bus.after(1).events] == [Grouped("drops", 2, 1.0), Dropped("y", 1)]


def test_a_clock_that_jumps_back_hides_nothing_for_longer_than_a_second() -> None:
    bus, clock = bus_of(most=100, singly=1)
    bus.emit(Dropped("x", 1))
    clock.seconds -= 500
    bus.emit(Dropped("x", 2))
    assert len(bus.after(0).events) == 2


async def test_who_waits_is_woken_by_the_next_event() -> None:
    bus, _ = bus_of()
    waiting = asyncio.create_task(bus.changed(0))
    await until(lambda: bool(bus._waiting))
    assert not waiting.done()
    bus.emit(Dropped("x", 1))
    await waiting
    await bus.changed(0)


async def test_closing_tells_the_groups_and_wakes_who_waits() -> None:
    bus, _ = bus_of(most=100, singly=1)
    bus.emit(Dropped("x", 1))
    bus.emit(Dropped("x", 1))
    waiting = asyncio.create_task(bus.changed(1))
    await until(lambda: bool(bus._waiting))
    bus.close()
    await waiting
    assert bus.is_closed
    assert bus.after(1).events[0].event == Grouped("drops", 1, 1.0)
