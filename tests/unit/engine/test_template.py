from __future__ import annotations

import asyncio

import pytest

from appliance.engine.template import finished


async def answer(value: int) -> int:
    if value < 0:
        raise ValueError(value)
    return value


async def nested(value: int) -> int:
    return await answer(value) + 1


def test_work_that_does_not_wait_is_finished_at_once() -> None:
    assert finished(nested(1)) == 2
    with pytest.raises(ValueError, match="-1"):
        finished(nested(-1))


def test_work_that_waits_is_told_and_ended() -> None:
    ended: list[bool] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="must never wait"):
        finished(waits())
    assert ended == [True]
