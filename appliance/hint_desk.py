"""An operator's word on sessions: what it would come to, giving it to the engines at once, and taking it back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from appliance.api.hint_views import (
    DEFAULT_SECONDS,
    HintAnswer,
    HintEffect,
    HintImpact,
    HintRequest,
    Hints,
    HintView,
    HintWithdrawn,
)
from appliance.api.problems import NothingOfThisName
from appliance.audit import Audit
from appliance.box_events import Event, HintChanged
from appliance.cache.prompt_read import TierTokens
from appliance.cache.session_state import SessionState
from appliance.conversation import LOWEST_PRIORITY, Conversation, RawPrompt, Sampling
from appliance.conversation import Hints as ClientHints
from appliance.errors import InvalidRequest, WorkerDied, nearest
from appliance.generation import Started
from appliance.hint_book import OperatorHint, Served, TooManyHints, Verb
from appliance.hint_effect import effect_of
from appliance.hint_impact import Displaced, Holding, displaced_by, seconds_of, sentence
from appliance.records import ActionRecord
from appliance.retention import Retention, SessionFacts
from appliance.router.index import Tier

if TYPE_CHECKING:
    from appliance.caretaker import Caretaker
    from appliance.engine.worker import Worker
    from appliance.fleet import Fleet, Member
    from appliance.last_prompts import LastPrompt
    from appliance.pipeline import Pipeline

PIN_PRIORITY: Final = 100
RELEASE_PRIORITY: Final = 0


class HintDesk:
    """`api.box.HintDesk` over a box with retention. `emit` is told of what was given and withdrawn."""

    def __init__(
        self,
        pipeline: Pipeline,
        fleet: Fleet,
        caretaker: Caretaker,
        audit: Audit,
        emit: Callable[[Event], None],
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"hint-{uuid.uuid4().hex[:12]}",
    ) -> None:
        self._pipeline = pipeline
        self._fleet = fleet
        self._caretaker = caretaker
        self._audit = audit
        self._emit = emit
        self._clock = clock
        self._new_id = new_id

    def active(self) -> Hints:
        return Hints([self._view(hint) for hint in self._retention.hints.active()])

    async def ask(self, request: HintRequest, *, dry_run: bool) -> HintAnswer:
        """Do it, or only say what it would come to. Raises a `RequestError`."""
        facts = self._facts(request.session)
        impact = await self._impact(request, facts)
        if dry_run:
            return HintAnswer(True, impact, None, None)
        hint = self._lasting(request)
        match request.verb:
            case "turn_finished":
                effect = await self._finish(request.session)
            case "prefetch":
                effect = await self._prefetch(request)
            case "warm":
                effect = await self._warm(request.session)
            case _:
                effect = await self._give(hint)
        self._tell(request.verb, request.session, request.by or "operator", hint, impact.text, effect)
        return HintAnswer(False, impact, None if hint is None else self._view(hint), effect)

    async def withdraw(self, hint_id: str, by: str) -> HintWithdrawn:
        """Raises `NothingOfThisName` for one that is not active."""
        served = self._retention.hints.served(hint_id)
        hint = self._retention.hints.remove(hint_id)
        if hint is None:
            raise NothingOfThisName(f"no hint {hint_id!r} is active; its time may be over", code="no_hint")
        came = self._effect(hint, served)
        planned = _told(await self._caretaker.replan(hint.session), self._block_tokens, "are planned without it")
        effect = f"{came.text}; {planned}"
        self._emit(HintChanged(hint.id, hint.verb, hint.session, "withdrawn", effect))
        self._audit.tell(
            ActionRecord(self._clock(), by, "hint withdraw", hint.session, {"before": hint.facts()}, effect)
        )
        return HintWithdrawn(replace(self._view(hint), effect=came), effect)

    def expired(self, hint: OperatorHint, served: Served) -> None:
        """Its time is over, and it is active no more: what came of it is told and remembered."""
        effect = self._effect(hint, served).text
        self._emit(HintChanged(hint.id, hint.verb, hint.session, "expired", effect))
        self._audit.tell(
            ActionRecord(self._clock(), "box", f"hint {hint.verb} expired", hint.session, {"hint": hint.id}, effect)
        )

    @property
    def _retention(self) -> Retention:
        return self._caretaker.retention

    @property
    def _block_tokens(self) -> int:
        return self._pipeline.router.block_tokens

    def _facts(self, session: str) -> SessionFacts:
        known = {facts.name: facts for facts in self._retention.facts()}
        if session not in known:
            meant = nearest(session, known)
            hint = f"Did you mean {meant}?" if meant else "GET /box/v1/cache/sessions lists those that are."
            raise NothingOfThisName(f"no session {session!r} is known", param="session", code="no_session", hint=hint)
        return known[session]

    def _lasting(self, request: HintRequest) -> OperatorHint | None:
        """`None` for what is done once."""
        if request.verb in ("prefetch", "warm", "turn_finished"):
            return None
        verb, now = Verb(request.verb), self._clock()
        priorities = {Verb.PIN: PIN_PRIORITY, Verb.RELEASE: RELEASE_PRIORITY}
        return OperatorHint(
            self._new_id(),
            verb,
            request.session,
            request.by or "operator",
            now,
            now + (DEFAULT_SECONDS if request.expires_in is None else request.expires_in),
            request.token_start or 0,
            request.token_end,
            priorities.get(verb) if request.priority is None else request.priority,
            request.ttl_seconds,
        )

    async def _give(self, hint: OperatorHint | None) -> str:
        if hint is None:
            raise TypeError("a hint that does not last cannot be given")
        try:
            self._retention.hints.add(hint)
        except TooManyHints as error:
            raise InvalidRequest(error.message, code="too_many_hints") from error
        return _told(await self._caretaker.replan(hint.session), self._block_tokens, "are planned by it now")

    async def _finish(self, session: str) -> str:
        self._retention.finish(session)
        return _told(await self._caretaker.replan(session), self._block_tokens, "are worth what a finished session is")

    async def _prefetch(self, request: HintRequest) -> str:
        """Its last prompt with one token of answer, which is nobody's turn and waits for everything else."""
        prompt = self._last_prompt(request.session)
        asked = Conversation(
            prompt.model,
            (),
            raw=RawPrompt(token_ids=tuple(prompt.tokens.tolist())),
            cache_salt=prompt.cache_salt,
            sampling=Sampling(max_tokens=1),
            hints=ClientHints(priority=LOWEST_PRIORITY, worker=request.worker),
        )
        prepared = await self._pipeline.prepare(asked, self._new_id())
        started: Started | None = None
        async with aclosing(prepared.events()) as events:
            async for event in events:
                started = event if isinstance(event, Started) else started
        if started is None:
            return "the engine ended it before its prompt was read"
        computed = started.prompt_tokens - started.cached_tokens
        return (
            f"read into the cache of worker {started.worker}: "
            f"{computed:,} tokens computed, {started.cached_tokens:,} were there"
        )

    async def _warm(self, session: str) -> str:
        """Without an engine: what comes up waits in the host tier for whichever worker gets the next turn."""
        if self._pipeline.warm is None:
            raise self._nothing_below()
        brought = await self._pipeline.warm(self._last_prompt(session))
        told = TierTokens.of(brought.ranges(self._block_tokens))
        parts = [
            f"{tokens:,} tokens from the {where}"
            for tokens, where in ((told.disk, "disk"), (told.remote, "remote store"))
            if tokens
        ]
        return f"{' and '.join(parts)} brought up into the host tier" if parts else "nothing had to be brought up"

    def _nothing_below(self) -> InvalidRequest:
        hint = "cache.disk.bytes and cache.remote.url give it one; prefetch reads it into a worker's cache."
        return InvalidRequest("this box has no tier below the host tier", param="verb", code="no_tier", hint=hint)

    def _last_prompt(self, session: str) -> LastPrompt:
        prompt = self._pipeline.last_prompts.get(session)
        if prompt is None or not prompt.is_text:
            why = "has pictures in it" if prompt is not None else "is not remembered any more"
            raise NothingOfThisName(f"the last prompt of {session!r} {why}", param="session", code="no_prompt")
        return prompt

    async def _impact(self, request: HintRequest, facts: SessionFacts) -> HintImpact:
        holdings = await asyncio.gather(*(_holding(member) for member in self._fleet.members.values()))
        known = [holding for holding in holdings if holding is not None]
        resident = self._resident(request.session, known)
        start, end = request.token_start or 0, request.token_end or facts.prompt_tokens
        meant = {worker: max(min(end, tokens) - start, 0) for worker, tokens in resident.items()}
        match request.verb:
            case "release" | "turn_finished":
                return self._given_up(request.session, meant, resident)
            case "priority" if (request.priority or 0) < 0:
                return self._given_up(request.session, meant, resident)
            case "prefetch":
                return self._fetched(request, facts, resident, known)
            case "warm":
                return self._warmed(request.session, resident)
        return self._kept(request.session, meant, resident, known)

    def _kept(
        self, session: str, meant: dict[int, int], resident: dict[int, int], holdings: list[Holding]
    ) -> HintImpact:
        wanted = {worker: -(-tokens // self._block_tokens) for worker, tokens in meant.items()}
        # What is kept is there already: free blocks put off the day, and then somebody else goes first.
        others = displaced_by(session, wanted, holdings, self._order(), self._block_tokens)
        seconds = seconds_of(others.tokens.values(), self._pipeline.router.paces.prefill_seconds)
        total = sum(meant.values())
        return _impact(total, resident, others, seconds, f"keeps {total:,} tokens of {session}")

    def _given_up(self, session: str, meant: dict[int, int], resident: dict[int, int]) -> HintImpact:
        """On several workers the longest of it is computed again: one is enough."""
        total = sum(meant.values())
        seconds = seconds_of([max(meant.values(), default=0)], self._pipeline.router.paces.prefill_seconds)
        return _impact(total, resident, None, seconds, f"gives up {total:,} tokens of {session}")

    def _fetched(
        self, request: HintRequest, facts: SessionFacts, resident: dict[int, int], holdings: list[Holding]
    ) -> HintImpact:
        there = resident if request.worker is None else {request.worker: resident.get(request.worker, 0)}
        worker = max(there, key=lambda each: there[each], default=None)
        if worker is None:
            return _impact(None, {}, None, None, f"reads {facts.prompt_tokens:,} tokens of {request.session}")
        missing = max(facts.prompt_tokens - there[worker], 0)
        wanted = {worker: -(-missing // self._block_tokens)}
        others = displaced_by(request.session, wanted, holdings, self._order(), self._block_tokens)
        seconds = seconds_of([missing], self._pipeline.router.paces.prefill_seconds)
        return _impact(missing, resident, others, seconds, f"computes at most {missing:,} tokens of {request.session}")

    def _warmed(self, session: str, resident: dict[int, int]) -> HintImpact:
        """As far as the router knows what lower tiers hold."""
        if self._pipeline.warm is None:
            raise self._nothing_below()
        depths, workers = self._pipeline.router.depths(self._last_prompt(session).hashes), self._pipeline.workers.ids()
        below, there = [
            max((int(depths[worker, tier]) for worker in workers), default=0) * self._block_tokens
            for tier in (Tier.REMOTE, Tier.HOST)
        ]
        what = f"brings up what the host tier lacks of {below:,} tokens of {session}"
        text = f"{what}; a GPU or the host tier has {there:,} of them already"
        return HintImpact(below, {str(each): count for each, count in resident.items()}, None, None, None, text)

    def _resident(self, session: str, holdings: list[Holding]) -> dict[int, int]:
        """By worker that answers, how many tokens it would find of the last prompt; where that is not remembered, those
        that the session was the last to use."""
        prompt = self._pipeline.last_prompts.get(session)
        if prompt is None:
            return {each.worker: each.blocks.get(session, 0) * self._block_tokens for each in holdings}
        depths = self._pipeline.router.depths(prompt.hashes)
        return {each.worker: int(depths[each.worker, Tier.GPU]) * self._block_tokens for each in holdings}

    def _order(self) -> list[str]:
        """Sessions without a request, the one whose blocks go first comes first; none of those that are kept."""
        forecast, hints = self._retention.forecast, self._retention.hints
        keeps = {} if forecast is None else forecast.keeps()
        idle = [facts for facts in self._retention.facts() if facts.state is not SessionState.RUNNING]
        open_to_all = [facts.name for facts in idle if not any(pin.priority for pin in hints.pins(facts.name))]
        return sorted(open_to_all, key=lambda name: keeps.get(name, 0.0))

    def _tell(self, verb: str, session: str, by: str, hint: OperatorHint | None, impact: str, effect: str) -> None:
        details = {"impact": impact} | ({} if hint is None else {"after": hint.facts()})
        self._emit(HintChanged(None if hint is None else hint.id, verb, session, "given", effect))
        self._audit.tell(ActionRecord(self._clock(), by, f"hint {verb}", session, details, effect))

    def _view(self, hint: OperatorHint) -> HintView:
        effect = self._effect(hint, self._retention.hints.served(hint.id))
        return hint_view(hint, self._retention.hints.remaining_seconds(hint), effect)

    def _effect(self, hint: OperatorHint, served: Served) -> HintEffect:
        prompt = self._pipeline.last_prompts.get(hint.session)
        if prompt is None:
            return effect_of(hint, served, None)
        depths = self._pipeline.router.depths(prompt.hashes)
        blocks = max((int(depths[worker, Tier.GPU]) for worker in self._pipeline.workers.ids()), default=0)
        return effect_of(hint, served, blocks * self._block_tokens)


def hint_view(hint: OperatorHint, remaining_seconds: float, effect: HintEffect | None = None) -> HintView:
    return HintView(
        hint.id,
        hint.verb.value,
        hint.session,
        hint.by,
        hint.given_at,
        hint.expires_at,
        remaining_seconds,
        hint.token_start,
        hint.token_end,
        hint.priority,
        hint.ttl_seconds,
        effect,
    )


async def _holding(member: Member) -> Holding | None:
    """`None` for an engine that is dead, or has no retention."""
    worker: Worker = member.worker
    if not worker.alive:
        return None
    try:
        blocks, stats = await worker.session_blocks(), await worker.retention_stats()
    except WorkerDied:
        return None
    return None if stats is None else Holding(member.id, stats["free"], blocks)


def _impact(
    tokens: int | None, resident: dict[int, int], others: Displaced | None, seconds: float | None, what: str
) -> HintImpact:
    """Where no engine answers nothing is known."""
    if not resident:
        return HintImpact(None, None, None, None, None, f"{what}, if it has any: no engine answers")
    return HintImpact(
        tokens,
        {str(worker): count for worker, count in resident.items()},
        None if others is None else others.total,
        None if others is None else list(others.tokens),
        seconds,
        sentence(what, others, seconds),
    )


def _told(blocks: dict[int, int], block_tokens: int, what: str) -> str:
    """What engines have answered, by worker."""
    there = [f"{count * block_tokens:,} tokens on worker {worker}" for worker, count in blocks.items() if count]
    return f"{' and '.join(there)} {what}" if there else "no engine has blocks of it; its next prompt is planned so"
