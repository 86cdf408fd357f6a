"""One frame a tick, whatever happens, and no faster while nothing answers."""

from __future__ import annotations

import asyncio
import threading

from appliance.tui.frame import Feed, Frame, Wanted
from appliance.tui.poller import INTERVALS_SECONDS, LONGEST_SECONDS, Poller, backoff

CACHE = Wanted(frozenset({Feed.CACHE}))


class Frames:
    """Gives frames as long as it may; `lost` says whether the box answers."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost
        self.asked: list[Wanted] = []
        self.is_closed = False
        self.gate = threading.Semaphore(10_000)

    def frame(self, wanted: Wanted) -> Frame:
        self.gate.acquire(timeout=5)
        self.asked.append(wanted)
        return Frame(at=float(len(self.asked)), lost="gone" if self.lost else None)

    def close(self) -> None:
        self.is_closed = True
        self.gate.release()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_frames_come_one_after_the_other_and_end_with_the_console() -> None:
    source, shown = Frames(), list[Frame]()
    poller = Poller(source, lambda: CACHE, shown.append)
    poller.interval_seconds = 0.001
    running = asyncio.create_task(poller.run())
    await until(lambda: len(shown) >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert source.is_closed
    assert [frame.at for frame in shown] == [float(place + 1) for place in range(len(shown))]
    assert set(source.asked) == {CACHE}


async def test_a_slow_box_holds_back_no_more_than_its_next_frame() -> None:
    source, shown = Frames(), list[Frame]()
    source.gate = threading.Semaphore(1)
    poller = Poller(source, lambda: CACHE, shown.append)
    poller.interval_seconds = 0.001
    running = asyncio.create_task(poller.run())
    await until(lambda: len(shown) == 1)
    for _ in range(100):
        poller.hurry()
        await asyncio.sleep(0)
    assert len(source.asked) == 1
    source.gate.release()
    await until(lambda: len(shown) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_another_wish_does_not_wait_for_the_next_tick() -> None:
    shown = list[Frame]()
    poller = Poller(Frames(), lambda: CACHE, shown.append)
    poller.interval_seconds = 3_600
    running = asyncio.create_task(poller.run())
    await until(lambda: len(shown) == 1)
    poller.hurry()
    await until(lambda: len(shown) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_box_that_does_not_answer_is_asked_ever_more_rarely() -> None:
    pauses = [backoff(0.5, failures) for failures in range(1, 8)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff(10.0, 9) == 10.0
    assert backoff(0.5, 10_000) == LONGEST_SECONDS


def test_the_interval_is_chosen_among_a_few() -> None:
    poller = Poller(Frames(), lambda: CACHE, lambda _frame: None)
    for _ in INTERVALS_SECONDS:
        poller.slower()
    assert poller.interval_seconds == INTERVALS_SECONDS[-1]
    poller.interval_seconds = 0.7
    poller.faster()
    assert poller.interval_seconds == 0.5
    for _ in INTERVALS_SECONDS:
        poller.faster()
    assert poller.interval_seconds == INTERVALS_SECONDS[0]
