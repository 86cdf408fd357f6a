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

from appliance.conversation import LOWEST_PRIORITY, Conversation, Message, RawPrompt, Sampling
from appliance.errors import RequestError, WorkerDied
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
    """One prompt at a time, on an engine that has room for background work and for which nobody waits; real work there
    ends it, and what it has computed until then stays cached. At most `MOST_PENDING` answers wait, one a session: the
    oldest gives way. `outcomes` counts what became of each: `done`, `needless` (all was cached), `cancelled`,
    `dropped`.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._outcomes = pipeline.accounts.speculations
        self._pending: OrderedDict[str, Ended] = OrderedDict()
        self._names = count()
        self._loop: asyncio.Task[None] | None = None
        self._running: asyncio.Task[str] | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def after(self, ended: Ended) -> None:
        """Prepare what comes after this answer, as soon as an engine has time. A no-op for an empty answer."""
        if not ended.answer.blocks:
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
        """End what runs and drop what waits."""
        self._outcomes["dropped"] += len(self._pending)
        self._pending.clear()
        for task in (self._loop, self._running):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        """Until nothing is pending."""
        while self._pending:
            _, ended = self._pending.popitem(last=False)
            self._running = asyncio.create_task(self._prepare(ended))
            await asyncio.wait([self._running])
            self._outcomes["cancelled" if self._running.cancelled() else self._running.result()] += 1

    async def _prepare(self, ended: Ended) -> str:
        """The outcome. Cancelled by real work."""
        dispatcher = self._pipeline.dispatcher
        try:
            prompt = await self._known_prompt(ended)
            errand = self._errand(prompt, ended.worker)
            while (place := dispatcher.place_idle(errand)) is None:
                await dispatcher.changed()
            if place.decision.overlap_blocks == place.decision.hashes.size:
                place.close()
                return "needless"
            await self._prefill(prompt, place)
        except (RequestError, NoWorker, WorkerDied) as error:
            log.debug("the next turn was not prepared: %s", error)
            return "dropped"
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
                async for _ in steps:
                    place.started()
        finally:
            place.close()


def _report_end(task: asyncio.Task[None]) -> None:
    """It ends when nothing is pending; any other end is logged, since nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)
