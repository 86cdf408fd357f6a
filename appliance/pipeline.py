"""The way of every request: stabilise, render, then `prepared_request`: route, generate, parse, account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from appliance.accounting import Accounts
from appliance.cache.prompt_read import Brought
from appliance.conversation import Conversation, Hints
from appliance.dispatcher import Dispatcher
from appliance.errors import NotReady, UnknownModel, WorkerDied, nearest
from appliance.event_bus import EventBus
from appliance.explainer import Explainer
from appliance.generation import ModelCard
from appliance.last_prompts import EndedRequest, LastPrompt, LastPrompts
from appliance.prepared_request import PreparedRequest, importance_of
from appliance.prompt_text import PromptText
from appliance.request_book import RequestBook
from appliance.request_entry import Entry
from appliance.retention import Payload, Retention
from appliance.router.decision import Decision
from appliance.router.rooms import Engines
from appliance.router.router import Router
from appliance.speculation import Speculation
from appliance.stabiliser.stabiliser import Stabiliser
from appliance.under_way import UnderWay
from appliance.waiting_room import DEFAULT_LIMITS, QueueLimits

if TYPE_CHECKING:
    from appliance.engine.parsing import AnswerParser
    from appliance.engine.prompt import Prompt
    from appliance.engine.rendering import Renderer
    from appliance.engine.worker import Worker


class Workers(Engines, Protocol):
    """The running engines. `dead` are those whose engine has ended, whether or not it is known elsewhere yet."""

    def worker(self, worker_id: int) -> Worker: ...

    async def any_ready(self, timeout_seconds: float) -> bool:
        """Wait until a worker can take requests; `False` when time is up or none will come back."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """How conversations become prompts, and steps answers. `new_parser` makes what reads one request's answer."""

    renderer: Renderer
    new_parser: Callable[[Renderer, Prompt], AnswerParser]
    stabiliser: Stabiliser


class Pipeline:
    """`generation.Inference` over real engines. Without `retention` engines are told nothing of what to keep.

    Requests wait in the dispatcher's queue, within `limits`, while no worker has room for them. Each is noted in the
    `book`.
    """

    def __init__(
        self,
        card: ModelCard,
        reading: Reading,
        router: Router,
        workers: Workers,
        accounts: Accounts,
        retention: Retention | None = None,
        limits: QueueLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.book = RequestBook(Explainer(router.block_tokens))
        """May be replaced before the first request."""
        self.card = card
        self.renderer = reading.renderer
        self.new_parser = reading.new_parser
        self.stabiliser = reading.stabiliser
        self.router = router
        self.workers = workers
        self.accounts = accounts
        self.retention = retention
        self._tasks: set[asyncio.Task[None]] = set()
        self.clock = clock
        self.dispatcher = Dispatcher(router, workers, limits, accounts.queue, clock=clock)
        self.speculation = Speculation(self)
        self.recall: Callable[[Prompt], Awaitable[Brought]] = _nothing_to_recall
        """Awaited before an engine gets a prompt: what a slower tier has of it comes nearer, within a limited time;
        what came from where is told, and may be told later still."""
        self.warm: Callable[[LastPrompt], Awaitable[Brought]] | None = None
        """Brings what slower tiers have of a prompt up into the host tier; `None` where there is no slower tier."""
        self.events = EventBus()
        """Told of requests; a box puts its own here."""
        self.under_way = UnderWay()
        self.last_prompts = LastPrompts()
        self.prompt_text: PromptText | None = None
        """`None`: text of prompts is shown to nobody."""
        self.on_ended: list[Callable[[EndedRequest], None]] = [self.last_prompts.ended, self._tell_hints]
        """Told, one after another in turns of the loop, of each request that an engine has read and that has ended."""
        self._refusal: str | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def models(self) -> tuple[ModelCard, ...]:
        return (self.card,)

    async def prepare(self, conversation: Conversation, request_id: str) -> PreparedRequest:
        if self._refusal is not None:
            raise NotReady(self._refusal)
        self.dispatcher.refuse_when_full(importance_of(self.hints_of(conversation)))
        arrived = self.clock()
        stable = self._stabilised(conversation)
        prompt = await self.renderer.render(stable)
        entry = self.book.draft(request_id, stable, prompt.regions, len(prompt.token_ids), self.clock() - arrived)
        return PreparedRequest(self, conversation, prompt, entry, arrived)

    async def count_tokens(self, conversation: Conversation) -> int:
        return await self.renderer.count(self._stabilised(conversation))

    def refuse(self, reason: str) -> None:
        """Take no new requests from now on; running ones go on. What nobody asked for yet is not prepared."""
        self._refusal = reason
        self.speculation.close()

    def close(self, reason: str) -> None:
        """Whoever waits for a worker waits no longer, and is told the reason; nor will anybody wait from now on."""
        self.refuse(reason)
        self.dispatcher.close(reason)

    async def idle(self) -> None:
        """Return when no request is running."""
        await self._idle.wait()

    def _stabilised(self, conversation: Conversation) -> Conversation:
        if conversation.model != self.card.id:
            near = nearest(conversation.model, [self.card.id])
            raise UnknownModel(
                f"The model {conversation.model!r} is not served here; {'did you mean' if near else 'this box serves'} "
                f"{self.card.id!r}{'?' if near else '.'}",
                param="model",
                code="model_not_found",
            )
        stable, changes = self.stabiliser.apply(conversation)
        self.accounts.stabilised.update(change.rule for change in changes)
        return stable

    def choose(
        self,
        prompt: Prompt,
        exclude: frozenset[int],
        *,
        session_id: str | None = None,
        output_tokens: int | None = None,
    ) -> Decision:
        """The best worker for a prompt but for those. Raises `NoWorker`."""
        return self.router.route(
            prompt.token_ids,
            extra_keys=prompt.extra_keys or None,
            exclude=exclude,
            session_id=session_id,
            output_tokens=output_tokens,
        )

    def hints_of(self, conversation: Conversation) -> Hints:
        """The client's, and what an operator says instead."""
        if self.retention is None:
            return conversation.hints
        return self.retention.hints.moved(conversation.identity.session_id, conversation.hints)

    def tell_end(self, request: EndedRequest) -> None:
        loop = asyncio.get_running_loop()
        for told in self.on_ended:
            loop.call_soon(told, request)

    def _tell_hints(self, request: EndedRequest) -> None:
        if self.retention is not None:
            session, tokens = request.conversation.identity.session_id, len(request.prompt.token_ids)
            self.retention.hints.turn(session, tokens, request.cached_tokens)

    def replan(self, worker_id: int, session_id: str, payload: Payload) -> None:
        """Tell an engine, beside everything else, what a session's blocks are worth now."""
        self._begin(self._replan(worker_id, session_id, payload))

    def set_aside(self, worker_id: int, request_id: str) -> None:
        """Take a request off its engine, beside everything else: its steps end with `SetAside`."""
        self._begin(self.workers.worker(worker_id).set_aside(request_id))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replan(self, worker_id: int, session_id: str, payload: Payload) -> None:
        with suppress(WorkerDied):
            await self.workers.worker(worker_id).replan(session_id, payload)

    def begin(self, entry: Entry, request: PreparedRequest) -> None:
        """`entry` is its own in the book."""
        self.under_way.add(entry, request)
        self.accounts.outcomes.active += 1
        self._idle.clear()

    def end(self, entry: Entry) -> None:
        self.under_way.remove(entry)
        self.accounts.outcomes.active -= 1
        if self.accounts.outcomes.active == 0:
            self._idle.set()


async def _nothing_to_recall(_prompt: Prompt) -> Brought:
    """There is no slower tier."""
    return Brought()
