"""Computes, while an engine has nothing else to do, what is known of a session's next prompt."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final

from appliance.cache.prompt_read import TierTokens
from appliance.conversation import LOWEST_PRIORITY, Conversation, Message, RawPrompt, Sampling
from appliance.errors import RequestError, SetAside, WorkerDied
from appliance.next_turn import common_prefix, next_turns
from appliance.router.errors import NoWorker
from appliance.router.places import Errand, Place

if TYPE_CHECKING:
    from appliance.engine.prompt import Prompt
    from appliance.pipeline import Pipeline

MOST_PENDING: Final = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer after which the next prompt is to be prepared, on the worker that gave it."""

    conversation: Conversation
    answer: Message
    worker: int


class Speculation:
    """One prompt at a time, on an engine that reads nothing and for which nobody waits; real work there ends it, and
    what it has computed until then stays cached. At most `MOST_PENDING` answers wait, one a session: the oldest gives
    way. The account's `speculations` count what became of each: `done`, `needless` (all was cached), `cancelled`,
    `dropped`.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._outcomes = pipeline.accounts.speculations
        self._pending: OrderedDict[str, Ended] = OrderedDict()
        self._names = count()
        self._loop: asyncio.Task[None] | None = None
        self._running: asyncio.Task[str] | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._pending)

    def after(self, ended: Ended) -> None:
        """Prepare what comes after this answer, as soon as its worker has time. A no-op for an empty answer, and after
        `close`."""
        if self._is_closed or not ended.answer.blocks:
            return
        name = ended.conversation.identity.session_id or f"#{next(self._names)}"
        self.forget(name)
        self._pending[name] = ended
        while len(self._pending) > MOST_PENDING:
            self._pending.popitem(last=False)
            self._outcomes["dropped"] += 1
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name="speculative prefill")
            self._loop.add_done_callback(_report_end)

    def forget(self, session_id: str | None) -> None:
        """Its next prompt is here already. A no-op for a session for which nothing waits."""
        if session_id is not None and self._pending.pop(session_id, None) is not None:
            self._outcomes["dropped"] += 1

    def close(self) -> None:
        """End what runs, drop what waits, and take no more."""
        self._is_closed = True
        self._outcomes["dropped"] += len(self._pending)
        self._pending.clear()
        for task in (self._loop, self._running):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        """Until nothing is pending."""
        while self._pending:
            name = self._next()
            if name is None:
                await self._pipeline.dispatcher.changed()
                continue
            self._running = asyncio.create_task(self._prepare(self._pending.pop(name)))
            await asyncio.wait([self._running])
            self._outcomes["cancelled" if self._running.cancelled() else self._running.result()] += 1

    def _next(self) -> str | None:
        """The first whose worker has time; `None`: none has."""
        dispatcher = self._pipeline.dispatcher
        return next((name for name, ended in self._pending.items() if dispatcher.has_time(ended.worker)), None)

    async def _prepare(self, ended: Ended) -> str:
        """The outcome. Cancelled by real work, which may come while the prompt is rendered."""
        dispatcher = self._pipeline.dispatcher
        try:
            prompt = await self._known_prompt(ended)
            place = dispatcher.place_idle(self._errand(prompt, ended.worker))
            if place is None:
                return "cancelled"
            if place.decision.overlap_blocks == place.decision.hashes.size:
                place.close()
                return "needless"
            await self._prefill(prompt, place)
        except (RequestError, NoWorker, WorkerDied) as error:
            log.debug("the next turn was not prepared: %s", error)
            return "dropped"
        except SetAside:
            return "cancelled"
        return "done"

    async def _known_prompt(self, ended: Ended) -> Prompt:
        """Raises a `RequestError` for what does not fit, or what no template can show."""
        renderer, conversation = self._pipeline.renderer, ended.conversation
        first, second = [
            (await renderer.render(self._pipeline.stabiliser.apply(turn)[0])).token_ids
            for turn in next_turns(conversation, ended.answer)
        ]
        known = RawPrompt(token_ids=tuple(common_prefix(first, second)))
        one_token = Sampling(max_tokens=1)
        return await renderer.render(
            Conversation(conversation.model, (), raw=known, cache_salt=conversation.cache_salt, sampling=one_token)
        )

    def _errand(self, prompt: Prompt, worker: int) -> Errand:
        return Errand(
            f"speculation-{next(self._names)}",
            choose=partial(self._pipeline.choose, prompt),
            admit=self._pipeline.router.admit,
            priority=LOWEST_PRIORITY,
            pin=worker,
            give_way=self._give_way,
        )

    def _give_way(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _prefill(self, prompt: Prompt, place: Place) -> None:
        try:
            steps = self._pipeline.workers.worker(place.worker).generate(
                prompt, place.errand.name, priority=-LOWEST_PRIORITY, session_id=None
            )
            async with aclosing(steps):
                async for step in steps:
                    place.advance(len(step.token_ids), step.cached_tokens, TierTokens(host=step.loaded_tokens))
        finally:
            place.close()


def _report_end(task: asyncio.Task[None]) -> None:
    """It ends when nothing is pending; any other end is logged, since nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)
