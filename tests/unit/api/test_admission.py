from __future__ import annotations

import asyncio

import pytest

from appliance.api.admission import Admission
from appliance.api.problems import Overloaded


def test_one_more_than_the_limit_is_turned_away_and_counted() -> None:
    admission = Admission(1)
    with admission.slot():
        admission.check_integrity()
        with pytest.raises(Overloaded), admission.slot():
            raise AssertionError("there was no slot")
        assert (admission.in_flight, admission.refused) == (1, 1)
    assert admission.in_flight == 0


def test_an_error_gives_the_slot_back() -> None:
    admission = Admission(1)
    with pytest.raises(ZeroDivisionError), admission.slot():
        raise ZeroDivisionError
    assert admission.in_flight == 0
    admission.check_integrity()


async def test_who_waits_for_a_turn_gets_the_place_that_is_given_back() -> None:
    admission = Admission(1)
    order: list[str] = []

    async def wait(name: str) -> None:
        async with admission.turn():
            order.append(name)
            await asyncio.sleep(0)

    with admission.slot():
        waiting = [asyncio.create_task(wait(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        assert (order, admission.in_flight) == ([], 1)
        waiting[1].cancel()
    await asyncio.wait(waiting)
    admission.check_integrity()
    assert (order, admission.in_flight) == (["first", "third"], 0)


async def test_a_cancelled_wait_passes_its_news_on() -> None:
    admission = Admission(1)

    async def wait() -> None:
        async with admission.turn():
            pass

    with admission.slot():
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
    assert admission.in_flight == 0
