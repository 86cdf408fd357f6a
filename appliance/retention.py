"""What the engines are told to keep: a plan for every request, and a new one when its session or the policy changes."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.cache.claims import DEFAULT_PRIORITY
from appliance.cache.errors import InvalidRange
from appliance.cache.eviction_facts import Order
from appliance.cache.heads import Head, Heads, head_of
from appliance.cache.plan import RetentionPlan
from appliance.cache.plan_wire import Lead, encode_plan
from appliance.cache.planner import MARK, MarkedPrefix, make_plan
from appliance.cache.policy import Policy
from appliance.cache.region import Region
from appliance.cache.region_map import REGIONS, RegionMap, Span
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import Session, SessionState
from appliance.conversation import Conversation, Hints, Identity
from appliance.hint_book import HintBook
from appliance.session_forecast import SessionForecast

MAX_SESSIONS: Final = 2048

Payload = dict[str, Any]
"""A plan as an engine takes it: `plan_wire`'s."""


class Subject(NamedTuple):
    """What a plan is about: a rendered conversation, without its text."""

    identity: Identity
    model: str
    hints: Hints
    regions: RegionMap
    marked: Sequence[MarkedPrefix]
    head: Head | None = None


class SessionFacts(NamedTuple):
    """`prompt_tokens` is the length of its last prompt, without the answer. `client` is the user agent.
    `claim_seconds`: until the next of its claims ends, by its own last use; `None` where none does."""

    name: str
    parent: str | None
    state: SessionState
    prompt_tokens: int
    client: str | None = None
    claim_seconds: float | None = None


def _endings(plan: RetentionPlan) -> tuple[float, ...]:
    claimed = (one.duration_seconds for one in plan.directives if one.priority > DEFAULT_PRIORITY)
    return tuple({seconds for seconds in claimed if seconds is not None})


def subject_of(conversation: Conversation, regions: RegionMap, marked: Sequence[MarkedPrefix]) -> Subject:
    """Neighbours of one region are one: a subject is kept as long as its session is known."""
    pieces = (list(spans) for _, spans in groupby(regions.spans, key=lambda span: span.region))
    merged = RegionMap(Span(spans[0].start, spans[-1].end, spans[0].region) for spans in pieces)
    return Subject(conversation.identity, conversation.model, conversation.hints, merged, marked, head_of(conversation))


@dataclass(slots=True)
class _Known:
    """A session and its last prompt."""

    session: Session
    subject: Subject
    is_over: bool = False
    """It was told once that silence has finished it."""
    claims: tuple[float, ...] = ()
    """For how many seconds after their last use blocks are worth more than others, by its last plan; only those that
    end."""

    def claim_seconds(self) -> float | None:
        """Until the next claim ends."""
        silent = self.session.silent_seconds
        return min((one - silent for one in self.claims if one > silent), default=None)


class Retention:
    """Plans by one policy for one model, whose template `keeps_thinking` of earlier turns or not. Knows the sessions
    that asked last: at most `max_sessions`, and all that run. The `forecast`, if there is one, is told of them.
    `prefill_seconds` says what computing so many tokens takes; without it subagents make no way for their lead."""

    def __init__(
        self,
        policy: Policy,
        *,
        keeps_thinking: bool | None = None,
        forecast: SessionForecast | None = None,
        hints: HintBook | None = None,
        prefill_seconds: Callable[[int], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self.policy = policy
        """May be replaced: plans made from then on are by the new one."""
        self.keeps_thinking = keeps_thinking
        self.forecast = forecast
        self.hints = HintBook() if hints is None else hints
        """What operators say of sessions."""
        self._prefill_seconds = prefill_seconds
        self._clock = clock
        self._max_sessions = max_sessions
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._heads = Heads()
        self._durations: tuple[Policy, dict[str, float | None]] | None = None
        self.forgotten_sessions = 0

    def begin(self, subject: Subject) -> Payload:
        """A request of this session is about to run."""
        name = subject.identity.session_id
        if name is None:
            return self._payload(subject, None)
        known = self._remember(name, subject)
        known.session.start()
        known.is_over = False
        if self.forecast is not None:
            self.forecast.arrived(name)
        self._forget_oldest()
        return self._payload(subject, known)

    def end(self, subject: Subject, stop_reason: str | None) -> Payload | None:
        """A request that had begun has ended. What its session's blocks are worth from now on; `None` when nobody can
        say whose they are."""
        name = subject.identity.session_id
        if name is None:
            return None
        known = self._remember(name, subject)
        known.session.stop(stop_reason)
        if subject.hints.session_final:
            known.session.finish()
        if self.forecast is not None:
            self.forecast.ended(name, stop_reason, subject.hints)
        return self._payload(subject, known)

    def resume(self, subject: Subject, state: SessionState, silent_seconds: float) -> None:
        """A session as it was before a restart, with what time is left to it. No-op for one that is known, is over, or
        for which there is no room."""
        name = subject.identity.session_id
        if name is None or name in self._known or len(self._known) >= self._max_sessions:
            return
        session = Session(subject.identity.parent_session_id, clock=self._clock)
        waits_for_tool = state is SessionState.TOOL_WAIT
        session.resume(silent_seconds, waits_for_tool=waits_for_tool, is_finished=state is SessionState.FINISHED)
        if session.state is SessionState.FINISHED:
            return
        self._known[name] = _Known(session, subject)
        self._heads.add(subject.head)
        if self.forecast is not None:
            self.forecast.resume(name, silent_seconds, waits_for_tool=waits_for_tool, hints=subject.hints)

    def subject(self, session_id: str) -> Subject | None:
        """Of the session's last request; `None` for one that is not known."""
        known = self._known.get(session_id)
        return None if known is None else known.subject

    def session(self, session_id: str) -> Session | None:
        """To be read only; `None` for one that is not known, or not any more."""
        known = self._known.get(session_id)
        return None if known is None else known.session

    def finish(self, session_id: str) -> bool:
        """An operator says that nothing more will come. `False` for a session that is not known."""
        known = self._known.get(session_id)
        if known is None:
            return False
        known.session.finish()
        if self.forecast is not None:
            self.forecast.finish(session_id)
        return True

    def sessions(self) -> list[str]:
        """All that are known, the one used longest ago first."""
        return list(self._known)

    def plan(self, session_id: str) -> Payload | None:
        """What the session's blocks are worth now; `None` for one that is not known."""
        known = self._known.get(session_id)
        return None if known is None else self._payload(known.subject, known)

    def over(self) -> Iterator[str]:
        """Sessions that silence has finished, each once; the forecast expects nothing of them any more."""
        for name, known in self._known.items():
            if not known.is_over and known.session.state is SessionState.FINISHED:
                known.is_over = True
                if self.forecast is not None:
                    self.forecast.forget(name)
                yield name

    def facts(self) -> list[SessionFacts]:
        """Of all that are known, the one used longest ago first."""
        return [
            SessionFacts(
                name,
                known.session.parent_id,
                known.session.state,
                known.subject.regions.tokens,
                known.subject.identity.client,
                known.claim_seconds(),
            )
            for name, known in self._known.items()
        ]

    def region(self, session_id: str | None, token: int) -> Region | None:
        """Of a token of the session's last prompt, or behind it; `None` for a session that is not known."""
        known = self._known.get(session_id) if session_id is not None else None
        if known is None:
            return None
        regions = known.subject.regions
        return regions.at(token).region if token < regions.tokens else Region.OUTPUT

    def duration_seconds(self, rule: str | None, session_id: str | None, token: int) -> float | None:
        """For how long after its last use a rule of the policy, or a mark of the session's last request, claims a
        token. `None`: without end, or nobody knows."""
        if rule != MARK:
            if self._durations is None or self._durations[0] is not self.policy:
                self._durations = self.policy, {one.label: one.duration_seconds for one in self.policy.rules}
            return self._durations[1].get(rule or "")
        known = self._known.get(session_id) if session_id is not None else None
        marked = () if known is None else known.subject.marked
        return min((mark.ttl_seconds for mark in marked if mark.tokens > token), default=None)

    def region_codes(self, session_id: str, tokens: NDArray[np.int32]) -> NDArray[np.int64] | None:
        """As `region` for several tokens of one session, as places in `REGIONS`."""
        known = self._known.get(session_id)
        if known is None:
            return None
        regions = known.subject.regions
        if not regions.tokens:
            return np.full(len(tokens), REGIONS.index(Region.OUTPUT), np.int64)
        codes = regions.codes[regions.starts.searchsorted(tokens, side="right") - 1]
        return np.where(tokens < regions.tokens, codes, REGIONS.index(Region.OUTPUT))

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        for known in self._known.values():
            known.session.check_integrity()
        self._heads.check_integrity(Counter(known.subject.head for known in self._known.values() if known.subject.head))
        if self.forecast is not None:
            self.forecast.check_integrity()

    def _remember(self, name: str, subject: Subject) -> _Known:
        known = self._known.get(name)
        if known is None:
            session = Session(subject.identity.parent_session_id, clock=self._clock)
            known = self._known[name] = _Known(session, subject)
        else:
            self._heads.remove(known.subject.head)
        self._heads.add(subject.head)
        known.subject = subject
        self._known.move_to_end(name)
        return known

    def _forget_oldest(self) -> None:
        """Never one that runs: its request will end, and must find it."""
        while len(self._known) > self._max_sessions:
            quiet = (name for name, known in self._known.items() if known.session.state is not SessionState.RUNNING)
            oldest = next(quiet, None)
            if oldest is None:
                return
            self._heads.remove(self._known.pop(oldest).subject.head)
            self.forgotten_sessions += 1
            if self.forecast is not None:
                self.forecast.forget(oldest)

    def _payload(self, subject: Subject, known: _Known | None) -> Payload:
        session = None if known is None else known.session
        try:
            plan = self._plan(subject, self._context(subject, session, self._moved(subject)))
        except InvalidRange:
            # What a client says of ranges must not fail its request: without them the policy decides.
            plan = self._plan(subject, self._context(subject, session, Hints(priority=self._moved(subject).priority)))
        if known is not None:
            known.claims = _endings(plan)
        return encode_plan(plan, subject.identity.session_id, self._lead(subject.identity.parent_session_id))

    def _lead(self, parent_id: str | None) -> Lead | None:
        """The session that will be back when its subagents are done, and what it costs to compute it again. A policy
        that goes by last use alone knows of no such thing."""
        if parent_id is None or self._prefill_seconds is None or self.policy.order is not Order.FORECAST:
            return None
        lead = self._known.get(parent_id)
        if lead is None or lead.session.state is SessionState.FINISHED:
            return None
        return Lead(parent_id, self._prefill_seconds(lead.subject.regions.tokens))

    def _plan(self, subject: Subject, context: SessionContext) -> RetentionPlan:
        name, tokens = subject.identity.session_id, subject.regions.tokens
        marks = (*subject.marked, *self.hints.marks(name, tokens))
        return make_plan(subject.regions, self.policy, context, pins=self.hints.pins(name), marks=marks)

    def _moved(self, subject: Subject) -> Hints:
        return self.hints.moved(subject.identity.session_id, subject.hints)

    def _context(self, subject: Subject, session: Session | None, hints: Hints) -> SessionContext:
        context = SessionContext(
            client=subject.identity.client,
            model=subject.model,
            keeps_thinking=self.keeps_thinking,
            shared=self._heads.has_others(subject.head, own=0 if session is None else 1),
            hints=hints,
        )
        return context if session is None else replace(context, state=session.state, role=session.role)
