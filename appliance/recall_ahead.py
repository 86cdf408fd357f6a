"""Brings a prompt up from lower tiers before it is asked for, where the client said how long its tool takes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from appliance.generation import FinishReason
from appliance.last_prompts import EndedRequest, LastPrompt, LastPrompts

LEAD_SECONDS: Final = 2.0
"""So long before the tool is expected to have ended."""
MOST_SESSIONS: Final = 256
"""Waited for at a time; of more the one that was told of first is forgotten."""

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class RecallAhead:
    """`recall` brings up what lower tiers have of a prompt. `later` calls after so many seconds; without one the
    running loop's. Nothing is brought up for a session whose next request has ended by then."""

    def __init__(
        self,
        prompts: LastPrompts,
        recall: Callable[[LastPrompt], Awaitable[object]],
        later: Later | None = None,
    ) -> None:
        self.recalled = 0
        """Sessions, since the start."""
        self._prompts = prompts
        self._recall = recall
        self._later = later
        self._waiting: OrderedDict[str, asyncio.TimerHandle] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Sessions that are waited for."""
        return len(self._waiting)

    def ended(self, request: EndedRequest) -> None:
        """One of `Pipeline.on_ended`. A no-op where nobody said how long a tool takes, or it takes no time."""
        session, seconds = request.conversation.identity.session_id, request.conversation.hints.tool_wait_seconds
        if session is None:
            return
        if (before := self._waiting.pop(session, None)) is not None:
            before.cancel()
        if request.finish is not FinishReason.TOOL_CALLS or seconds is None or seconds <= LEAD_SECONDS:
            return
        while len(self._waiting) >= MOST_SESSIONS:
            self._waiting.popitem(last=False)[1].cancel()
        later = self._later or asyncio.get_running_loop().call_later
        self._waiting[session] = later(seconds - LEAD_SECONDS, lambda: self._begin(session, request.ended))

    def _begin(self, session: str, ended: float) -> None:
        self._waiting.pop(session, None)
        prompt = self._prompts.get(session)
        if prompt is None or prompt.ended != ended or not prompt.is_text:
            return
        self.recalled += 1
        task = asyncio.get_running_loop().create_task(self._bring(prompt), name="recall ahead")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring(self, prompt: LastPrompt) -> None:
        await self._recall(prompt)
