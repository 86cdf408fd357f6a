"""One request on its way through the engines: routed, generated, parsed, accounted.

A request outlives its place on a worker: when an engine ends in the middle, or when it is set aside to make room for a
more important one, the tokens made so far become part of the prompt, and a worker goes on, unseen by the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from appliance.accounting import PromptRead
from appliance.box_events import RequestFinished, RequestStarted
from appliance.cache.ledger import TokenRange
from appliance.cache.prompt_read import Brought, TierTokens, read_ranges
from appliance.conversation import Conversation, Hints, Ignored, Role, ToolResult
from appliance.errors import (
    BoxError,
    CancelledByOperator,
    GenerationFailed,
    NotReady,
    RequestError,
    SetAside,
    WorkerDied,
)
from appliance.generation import Delta, Event, Finished, FinishReason, Started, Timing, Usage
from appliance.last_prompts import EndedRequest
from appliance.next_turn import AnswerText
from appliance.records import Outcome
from appliance.request_entry import Ending
from appliance.retention import Subject, subject_of
from appliance.router.decision import Decision
from appliance.router.errors import NoWorker
from appliance.router.hashing import Hashes
from appliance.router.places import Choose, Errand, Place
from appliance.router.queue import Importance
from appliance.speculation import Ended
from appliance.under_way import Progress, RequestPhase

if TYPE_CHECKING:
    from appliance.engine.prompt import Prompt
    from appliance.engine.worker import Step
    from appliance.pipeline import Pipeline
    from appliance.request_entry import Entry

# A request that was on two dying engines may be what killed them; it gets no third.
MAX_RESUMES = 1
# A request that was set aside so often is left in peace.
MAX_TIMES_SET_ASIDE = 3
# How long a request waits for a worker to come back when none is left. A restart of one engine takes about 20 s.
WORKER_WAIT_SECONDS = 120.0
# Engines know one number: a tier is worth more than any priority below it, and both fit in 64 bits.
MAX_ENGINE_TIER = 2**30
TIER_SHIFT = 32


class PreparedRequest:
    """One rendered request; `generation.Prepared`."""

    def __init__(
        self, pipeline: Pipeline, conversation: Conversation, prompt: Prompt, entry: Entry, arrived: float
    ) -> None:
        self._pipeline = pipeline
        self._conversation = conversation
        self._prompt = prompt
        self._entry = entry
        self._arrived = arrived
        self._first_token_seconds = 0.0
        self._last_token_at: float | None = None
        self._parser = pipeline.new_parser(pipeline.renderer, prompt)
        self._shown: list[str] = []
        self._last_step: Step | None = None
        self._cached_tokens: int | None = None
        self._read: tuple[TokenRange, ...] = ()
        """What was read of the prompt, by tier."""
        self._finish: FinishReason | None = None
        self._worker: int | None = None
        self._seat: Place | None = None
        self._waits_since: float | None = None
        self._waits_as: Errand | None = None
        self._watch: asyncio.Task[bool] | None = None
        """For a worker to come back, where none lives."""
        self._cancelled: CancelledByOperator | None = None
        self._hashes: Hashes | None = None
        self._answer = AnswerText() if _is_followed_up(conversation) else None
        self._num_attempts = 0
        self._times_set_aside = 0

    @property
    def prompt_tokens(self) -> int:
        return len(self._prompt.token_ids)

    def decide(self) -> Decision:
        """Where it would go now; nothing is sent, and nothing changes. Raises `NoWorker`."""
        return self._chooser(self._prompt)(self._pipeline.workers.dead())

    def progress(self) -> Progress:
        seat, phase = self._seat, RequestPhase.WAITING
        if seat is not None and not seat.is_closed:
            phase = RequestPhase.PREFILL if seat.is_reading else RequestPhase.DECODE
        now = self._pipeline.clock()
        return Progress(
            self._entry,
            phase,
            self._worker,
            self._cached_tokens,
            self._parser.completion_tokens,
            None if self._cached_tokens is None else self.prompt_tokens + len(self._parser.generated()) - 1,
            self._entry.queued_seconds + (0.0 if self._waits_since is None else now - self._waits_since),
            now - self._arrived,
        )

    def cancel(self, error: CancelledByOperator) -> None:
        """As of `under_way.Running`."""
        self._cancelled = self._cancelled or error
        seat = self._seat
        if seat is not None and not seat.is_closed:
            self._pipeline.set_aside(seat.worker, seat.errand.name)
            seat.close()
        elif self._watch is not None:
            self._watch.cancel()
        elif self._waits_as is not None:
            self._pipeline.dispatcher.cancel(self._waits_as, error)

    async def events(self) -> AsyncGenerator[Event]:
        outcomes = self._pipeline.accounts.outcomes
        self._pipeline.begin(self._entry, self)
        finished = aborted = False
        fault: str | None = None
        self._pipeline.book.began(self._entry)
        subject = self._begin_session()
        self._pipeline.speculation.forget(self._conversation.identity.session_id)
        try:
            async with aclosing(self._attempts()) as attempts:
                async for event in attempts:
                    self._end_if_cancelled()
                    finished = isinstance(event, Finished)
                    outcomes.finished += finished
                    if isinstance(event, Delta):
                        self._finish = event.finish or self._finish
                        if self._answer is not None:
                            self._answer.add(event)
                    yield event
        except RequestError as error:
            fault = str(error)
            aborted = isinstance(error, CancelledByOperator)
            raise
        except BoxError as error:
            fault = str(error)
            raise GenerationFailed(str(error)) from error
        except (GeneratorExit, asyncio.CancelledError):
            aborted = not finished
            raise
        finally:
            outcomes.aborted += aborted
            outcomes.failed += not (finished or aborted)
            self._pipeline.accounts.completion_tokens += self._parser.completion_tokens
            self._end_session(subject)
            outcome = Outcome.FINISHED if finished else Outcome.ABORTED if aborted else Outcome.FAILED
            self._pipeline.book.ended(self._entry, self._ending(outcome, fault))
            self._tell_end(outcome)
            self._pipeline.end(self._entry)
            if finished and self._answer is not None and self._worker is not None:
                self._pipeline.speculation.after(Ended(self._conversation, self._answer.message(), self._worker))

    def _begin_session(self) -> Subject | None:
        retention, regions = self._pipeline.retention, self._prompt.regions
        if retention is None or regions is None:
            return None
        subject = subject_of(self._conversation, regions, self._prompt.marked)
        self._prompt = replace(self._prompt, retention=retention.begin(subject))
        return subject

    def _end_session(self, subject: Subject | None) -> None:
        if subject is None or self._pipeline.retention is None:
            return
        payload = self._pipeline.retention.end(subject, self._finish)
        session_id = self._conversation.identity.session_id
        if payload is not None and session_id is not None and self._worker is not None:
            self._pipeline.replan(self._worker, session_id, payload)

    def _ending(self, outcome: Outcome, fault: str | None) -> Ending:
        pipeline, sent = self._pipeline, self._entry.sent
        has_one_answer = self._cached_tokens is not None and self._prompt.params.n == 1
        answer = self._parser.generated() if has_one_answer else ()
        session_id = self._conversation.identity.session_id
        session = pipeline.retention.session(session_id) if pipeline.retention and session_id else None
        return Ending(
            outcome,
            self._finish,
            self._parser.completion_tokens,
            pipeline.clock() - self._arrived,
            answer,
            None if sent is None or not answer else pipeline.router.hashes_with(sent.decision, answer[:-1]),
            None if session is None else session.state,
            fault,
        )

    def _tell_end(self, outcome: Outcome) -> None:
        self._pipeline.events.emit(
            RequestFinished(
                self._entry.name,
                self._conversation.identity.session_id,
                self._worker,
                outcome.value,
                self.prompt_tokens,
                self._cached_tokens,
                self._parser.completion_tokens,
                None if self._cached_tokens is None else self._first_token_seconds,
                self._pipeline.clock() - self._arrived,
            )
        )
        if self._worker is not None and self._hashes is not None and self._cached_tokens is not None:
            self._pipeline.tell_end(
                EndedRequest(
                    self._conversation,
                    self._prompt,
                    self._hashes,
                    self._worker,
                    self._arrived,
                    self._pipeline.clock(),
                    self._cached_tokens,
                    self._parser.completion_tokens,
                    self._finish,
                )
            )

    async def _attempts(self) -> AsyncGenerator[Event]:
        """Run on one worker after the other until the answer is complete."""
        prompt = self._prompt
        # A worker that was started again counts anew: the same request may have ended it twice.
        died_on: list[int] = []
        while True:
            self._end_if_cancelled()
            place = await self._place(prompt, frozenset(died_on))
            try:
                async with aclosing(self._attempt(prompt, place)) as events:
                    async for event in events:
                        yield event
            except WorkerDied:
                died_on.append(place.worker)
                if len(died_on) > MAX_RESUMES:
                    raise GenerationFailed("Two engines ended while they worked on this request.") from None
                resumed = 1
            except SetAside:
                self._end_if_cancelled()
                self._times_set_aside += 1
                self._entry.was_set_aside |= self._cached_tokens is None
                resumed = 0
            else:
                return
            if self._last_step is not None and self._exhausted():
                if (delta := self._closing_delta(self._last_step)) is not None:
                    yield delta
                yield self._finished()
                return
            prompt = self._rest()
            self._pipeline.accounts.outcomes.resumed += resumed

    async def _place(self, prompt: Prompt, avoid: frozenset[int]) -> Place:
        """On a live worker, one of `avoid` only when there is no other. Waits when none has room, or none lives."""
        errand, clock = self._errand(prompt, avoid), self._pipeline.clock
        began = self._waits_since = clock()
        self._waits_as = errand
        try:
            for _ in range(2):
                with suppress(NoWorker):
                    return await self._pipeline.dispatcher.place(errand)
                if not await self._any_ready():
                    break
            raise NotReady("No worker is alive.")
        finally:
            self._entry.queued_seconds += clock() - began
            self._waits_since = self._waits_as = None

    async def _any_ready(self) -> bool:
        self._watch = asyncio.create_task(self._pipeline.workers.any_ready(WORKER_WAIT_SECONDS))
        try:
            return await self._watch
        except asyncio.CancelledError:
            self._end_if_cancelled()
            raise
        finally:
            self._watch = None

    def _end_if_cancelled(self) -> None:
        if self._cancelled is not None:
            raise self._cancelled

    def _errand(self, prompt: Prompt, avoid: frozenset[int]) -> Errand:
        hints, name = self._conversation.hints, f"{self._entry.name}.{self._num_attempts}"
        importance = importance_of(self._pipeline.hints_of(self._conversation))
        may_be_set_aside = prompt.resumable and self._times_set_aside < MAX_TIMES_SET_ASIDE
        return Errand(
            name,
            choose=self._chooser(prompt),
            admit=partial(self._pipeline.router.admit, request_id=self._entry.name),
            tier=importance.tier,
            priority=importance.priority,
            answer_tokens=min(hints.output_tokens or 0, prompt.params.max_tokens or 0),
            is_in_turn=_is_in_turn(self._conversation),
            may_be_refused=not self._num_attempts,
            pin=hints.worker,
            avoid=avoid,
            set_aside=partial(self._step_aside, name) if may_be_set_aside else None,
        )

    def _chooser(self, prompt: Prompt) -> Choose:
        """Requests of one `prefix_id` stay together as those of a session do, where no session is named."""
        hints = self._conversation.hints
        return partial(
            self._pipeline.choose,
            prompt,
            session_id=self._conversation.identity.session_id or hints.prefix_id,
            output_tokens=hints.output_tokens,
        )

    def _step_aside(self, name: str, worker: int) -> None:
        self._pipeline.set_aside(worker, name)

    async def _attempt(self, prompt: Prompt, place: Place) -> AsyncGenerator[Event]:
        pipeline = self._pipeline
        self._worker, self._seat = place.worker, place
        if self._hashes is None:
            self._hashes = place.decision.hashes
        self._num_attempts += 1
        try:
            self._end_if_cancelled()
            brought = await pipeline.recall(prompt)
            if place.is_closed:
                raise SetAside("set aside before it began")
            held_back = self._held_back() if self._num_attempts > 1 else ""
            if self._cached_tokens is None:
                pipeline.book.sent(self._entry, place.decision)
            steps = pipeline.workers.worker(place.worker).generate(
                prompt,
                place.errand.name,
                priority=_engine_priority(place.errand.importance),
                session_id=self._conversation.identity.session_id,
            )
            read: tuple[TokenRange, ...] = ()
            async with aclosing(steps):
                async for step in steps:
                    if place.is_reading:
                        read = self._ranges(step, brought)
                        place.advance(len(step.token_ids), step.cached_tokens, TierTokens.of(read))
                    else:
                        place.advance(len(step.token_ids))
                    if self._prompt.params.n == 1:
                        self._count_gap(len(step.token_ids))
                    if self._cached_tokens is None:
                        yield self._started(step, place.worker, read)
                    delta = self._delta(step, held_back)
                    held_back = ""
                    if delta is not None:
                        yield delta
        finally:
            place.close()
        yield self._finished()

    def _count_gap(self, tokens: int) -> None:
        """How long after the token before them these came, whichever worker made it."""
        now = self._pipeline.clock()
        if self._last_token_at is not None:
            self._pipeline.accounts.token_gaps.add(now - self._last_token_at, tokens)
        if tokens:
            self._last_token_at = now

    def _ranges(self, step: Step, brought: Brought) -> tuple[TokenRange, ...]:
        came = brought.ranges(self._pipeline.router.block_tokens)
        return read_ranges(step.cached_tokens, step.loaded_tokens, came)

    def _started(self, step: Step, worker: int, read: tuple[TokenRange, ...]) -> Started:
        self._cached_tokens, self._read = step.cached_tokens, read
        self._first_token_seconds = self._pipeline.clock() - self._arrived
        below = TierTokens.of(read)
        account = PromptRead(self.prompt_tokens, step.cached_tokens, below)
        self._pipeline.accounts.prompt_read(account, self._first_token_seconds)
        self._pipeline.book.read(self._entry, read, self._first_token_seconds)
        session_id = self._conversation.identity.session_id
        self._pipeline.events.emit(
            RequestStarted(self._entry.name, session_id, worker, self.prompt_tokens, step.cached_tokens)
        )
        return Started(
            self.prompt_tokens,
            step.cached_tokens,
            worker,
            self._prompt.marked,
            self._ignored(worker),
            below,
        )

    def _ignored(self, worker: int) -> tuple[Ignored, ...]:
        """A pin to a worker that could not be followed."""
        pin = self._conversation.hints.worker
        if pin is None or pin == worker:
            return ()
        known = sorted(self._pipeline.workers.ids())
        fault = f"worker {pin} is not alive" if pin in known else f"there is no worker {pin} among {known}"
        return (Ignored("nvext.backend_instance_id", f"{fault}; worker {worker} took the request"),)

    def _delta(self, step: Step, held_back: str) -> Delta | None:
        if held_back:
            step = replace(step, text=held_back + step.text)
        self._shown.append(step.text)
        self._last_step = step
        return self._parser.feed(step)

    def _rest(self) -> Prompt:
        """What is left to generate. Before the first token that is everything, for any kind of request."""
        generated = self._parser.generated()
        if self._cached_tokens is None:
            return self._prompt
        if not self._prompt.resumable:
            raise GenerationFailed("The engine ended in the middle of an answer that cannot be resumed.")
        return self._prompt.resumed(generated)

    def _exhausted(self) -> bool:
        """The engine made the last token it was allowed and ended before it could say so."""
        limit = self._prompt.params.max_tokens
        return self._prompt.params.n == 1 and limit is not None and len(self._parser.generated()) >= limit

    def _closing_delta(self, last_step: Step) -> Delta | None:
        """What the dead engine and the parser still held back, and the end."""
        end = replace(last_step, token_ids=(), text="", logprobs=None, finish=FinishReason.LENGTH, matched_stop=None)
        return self._delta(end, self._held_back())

    def _held_back(self) -> str:
        """Text of the tokens so far that no engine has shown."""
        generated, shown = self._parser.generated(), "".join(self._shown)
        return self._pipeline.renderer.held_back(self._prompt, generated, shown)

    def _finished(self) -> Finished:
        usage = Usage(
            self.prompt_tokens,
            self._cached_tokens or 0,
            self._parser.completion_tokens,
            self._parser.reasoning_tokens,
            TierTokens.of(self._read),
        )
        return Finished(usage, Timing(self._first_token_seconds, self._pipeline.clock() - self._arrived))


def importance_of(hints: Hints) -> Importance:
    return Importance(hints.strict_priority or 0, hints.priority)


def _engine_priority(importance: Importance) -> int:
    """An engine serves the lowest first."""
    return -(min(importance.tier, MAX_ENGINE_TIER) << TIER_SHIFT) - importance.priority


def _is_followed_up(conversation: Conversation) -> bool:
    """Whether the next prompt is to be prepared after the answer, and is one that can be foreseen."""
    is_chat = conversation.raw is None and not conversation.continue_final and conversation.sampling.n == 1
    return conversation.hints.speculative_prefill and is_chat


def _is_in_turn(conversation: Conversation) -> bool:
    """Whether this goes on with a turn: it brings the results of tools that were called."""
    for message in reversed(conversation.messages):
        if message.role is Role.ASSISTANT:
            return False
        if any(isinstance(block, ToolResult) for block in message.blocks):
            return True
    return False
