"""What there is to see is recorded when its time has come and something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from appliance.errors import NotReady
from appliance.records import ViewRecord
from appliance.view_watch import AGAIN_SECONDS, TICK_SECONDS, Look, ViewWatch
from tests.clock import Clock
from tests.unit.tui import example_box


async def seen(ticks: int, *looks: Look, seconds: float = TICK_SECONDS) -> list[tuple[float, str]]:
    """When what was recorded, in so many ticks."""
    clock, told, left = Clock(0.0), list[ViewRecord](), ticks

    async def sleep(asked: float) -> None:
        nonlocal left
        assert asked == TICK_SECONDS
        clock.seconds += seconds
        left -= 1
        if not left:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await ViewWatch(looks, told.append, clock, sleep).run()
    return [(one.at, one.name) for one in told]


def showing(*views: Any) -> Callable[[], Awaitable[Any]]:
    """One after the other, the last for ever; an exception is raised."""
    left = list(views)

    async def ask() -> Any:
        view = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(view, Exception):
            raise view
        return view

    return ask


SESSIONS = example_box.sessions()
FEWER = msgspec.structs.replace(SESSIONS, total=3)


async def test_only_what_has_changed_is_recorded() -> None:
    look = Look("sessions", 1, showing(SESSIONS, SESSIONS, FEWER, FEWER, SESSIONS))
    assert await seen(6, look) == [(0.0, "sessions"), (20.0, "sessions"), (40.0, "sessions")]


async def test_each_is_looked_at_in_its_own_time() -> None:
    often = Look("often", 1, showing(SESSIONS, FEWER, SESSIONS, FEWER, SESSIONS, FEWER, SESSIONS))
    seldom = Look("seldom", 3, showing(SESSIONS, FEWER, SESSIONS))
    told = await seen(7, often, seldom)
    assert [at for at, name in told if name == "seldom"] == [0.0, 30.0, 60.0]
    assert len(told) == 10


async def test_ages_alone_are_no_change_and_what_stays_is_told_again_after_an_hour() -> None:
    view = example_box.blocks()
    older = msgspec.structs.replace(view, age_seconds=[age and age + 60 for age in view.age_seconds])
    assert await seen(3, Look("map", 1, showing(view, older))) == [(0.0, "map")]
    told = await seen(4, Look("map", 1, showing(view, older)), seconds=AGAIN_SECONDS / 2)
    assert [at for at, _ in told] == [0.0, AGAIN_SECONDS]


async def test_claims_that_run_out_and_a_pace_that_is_learned_are_no_change() -> None:
    later = [
        msgspec.structs.replace(
            one,
            claim_seconds=one.claim_seconds and one.claim_seconds - TICK_SECONDS,
            prefill_seconds=one.prefill_seconds and one.prefill_seconds * 1.1,
        )
        for one in SESSIONS.sessions
    ]
    assert later != SESSIONS.sessions
    look = Look("sessions", 1, showing(SESSIONS, msgspec.structs.replace(SESSIONS, sessions=later)))
    assert await seen(3, look) == [(0.0, "sessions")]


async def test_a_look_that_fails_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    dead = Look("dead", 1, showing(NotReady("worker 0 is not alive"), SESSIONS))
    broken = Look("broken", 1, showing(RuntimeError("no"), SESSIONS))
    told = await seen(2, dead, broken, Look("sound", 1, showing(SESSIONS)))
    assert told == [(0.0, "sound"), (10.0, "dead"), (10.0, "broken")]
    assert [one.message for one in caplog.records] == ["broken could not be recorded"]
