from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from appliance.conversation import Conversation, Hints, Identity
from appliance.generation import FinishReason
from appliance.last_prompts import EndedRequest, LastPrompt, LastPrompts
from appliance.recall_ahead import LEAD_SECONDS, MOST_SESSIONS, RecallAhead
from tests.unit.scripted_worker import ScriptedPrompt

TOOL_CALLS = FinishReason.TOOL_CALLS


@dataclass(eq=False)
class Timer:
    seconds: float
    call: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Bench:
    timers: list[Timer] = field(default_factory=list)
    recalled: list[LastPrompt] = field(default_factory=list)
    ended: float = 0.0

    def __post_init__(self) -> None:
        self.prompts = LastPrompts()
        self.ahead = RecallAhead(self.prompts, self.recall, self.later)

    def later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append(Timer(seconds, call))
        return cast("asyncio.TimerHandle", self.timers[-1])

    async def recall(self, prompt: LastPrompt) -> None:
        self.recalled.append(prompt)

    def answer(
        self, session: str | None, wait: float | None, finish: FinishReason = TOOL_CALLS, tokens: int = 4
    ) -> None:
        """A request of the session has ended."""
        self.ended += 1.0
        conversation = Conversation("m", (), hints=Hints(tool_wait_seconds=wait), identity=Identity(session))
        prompt = cast("Any", ScriptedPrompt(list(range(tokens))))
        hashes = np.empty(0, np.uint64)
        request = EndedRequest(conversation, prompt, hashes, 0, 0.0, self.ended, 0, 1, finish)
        self.prompts.ended(request)
        self.ahead.ended(request)

    async def fire(self) -> None:
        for timer in self.timers:
            if not timer.is_cancelled:
                timer.call()
        self.timers.clear()
        await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_prompt_is_brought_up_shortly_before_its_tool_is_said_to_end(bench: Bench) -> None:
    bench.answer("s", 60.0)
    assert [timer.seconds for timer in bench.timers] == [60.0 - LEAD_SECONDS]
    await bench.fire()
    assert [prompt.tokens.tolist() for prompt in bench.recalled] == [[0, 1, 2, 3]]
    assert (bench.ahead.recalled, len(bench.ahead)) == (1, 0)


@pytest.mark.parametrize(
    ("session", "wait", "finish"),
    [
        (None, 60.0, TOOL_CALLS),
        ("s", None, TOOL_CALLS),
        ("s", LEAD_SECONDS, TOOL_CALLS),
        ("s", 60.0, FinishReason.STOP),
    ],
)
async def test_where_no_tool_is_waited_for_nothing_is_planned(
    bench: Bench, session: str | None, wait: float | None, finish: FinishReason
) -> None:
    bench.answer(session, wait, finish)
    assert bench.timers == []


async def test_a_session_that_has_asked_again_is_planned_anew_or_not_at_all(bench: Bench) -> None:
    bench.answer("s", 60.0)
    bench.answer("s", 30.0, tokens=7)
    assert [timer.is_cancelled for timer in bench.timers] == [True, False]
    await bench.fire()
    assert [len(prompt.tokens) for prompt in bench.recalled] == [7]
    bench.answer("s", 60.0)
    bench.answer("s", None, FinishReason.STOP)
    await bench.fire()
    assert len(bench.recalled) == 1


async def test_a_prompt_that_is_forgotten_or_was_followed_is_not_brought_up(bench: Bench) -> None:
    bench.answer("s", 60.0)
    call = bench.timers[0].call
    bench.answer("s", None)
    call()
    bench.prompts._drop("s")
    call()
    await asyncio.sleep(0)
    assert bench.recalled == []


async def test_so_many_sessions_are_waited_for_and_no_more(bench: Bench) -> None:
    for number in range(MOST_SESSIONS + 3):
        bench.answer(f"s{number}", 60.0)
    assert len(bench.ahead) == MOST_SESSIONS
    assert [timer.is_cancelled for timer in bench.timers[:4]] == [True, True, True, False]
