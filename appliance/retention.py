"""What the engines are told to keep: a plan for every request, and a new one when its session changes state."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from appliance.cache.errors import InvalidRange
from appliance.cache.plan_wire import encode_plan
from appliance.cache.planner import MarkedPrefix, make_plan
from appliance.cache.policy import Policy
from appliance.cache.region_map import RegionMap
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import Session, SessionState
from appliance.conversation import Conversation, Hints, Identity

MAX_SESSIONS = 4096

Payload = dict[str, Any]
"""A plan as an engine takes it: `plan_wire`'s."""


class Subject(NamedTuple):
    """What a plan is about: a rendered conversation."""

    conversation: Conversation
    regions: RegionMap
    marked: Sequence[MarkedPrefix]


class Retention:
    """Plans by one policy for one model, whose template `keeps_thinking` of earlier turns or not. Knows the sessions
    that asked last: at most `max_sessions`, and all that run."""

    def __init__(
        self,
        policy: Policy,
        *,
        keeps_thinking: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        self.policy = policy
        self._keeps_thinking = keeps_thinking
        self._clock = clock
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self.forgotten_sessions = 0

    def begin(self, subject: Subject) -> Payload:
        """A request of this session is about to run."""
        session = self._session(subject.conversation.identity)
        if session is not None:
            session.start()
        return self._payload(subject, session)

    def end(self, subject: Subject, stop_reason: str | None) -> Payload | None:
        """It has ended. What its session's blocks are worth from now on; `None` when nobody can say whose they are."""
        session = self._session(subject.conversation.identity)
        if session is None:
            return None
        session.stop(stop_reason)
        if subject.conversation.hints.session_final:
            session.finish()
        return self._payload(subject, session)

    def session(self, session_id: str) -> Session | None:
        """To be read only; `None` for one that is not known, or not any more."""
        return self._sessions.get(session_id)

    def check_integrity(self) -> None:
        """Raises `IntegrityError`."""
        for session in self._sessions.values():
            session.check_integrity()

    def _session(self, identity: Identity) -> Session | None:
        if identity.session_id is None:
            return None
        session = self._sessions.get(identity.session_id)
        if session is None:
            session = self._sessions[identity.session_id] = Session(identity.parent_session_id, clock=self._clock)
        self._sessions.move_to_end(identity.session_id)
        self._forget_oldest()
        return session

    def _forget_oldest(self) -> None:
        """Never one that runs: its request will end, and must find it."""
        while len(self._sessions) > self._max_sessions:
            quiet = (name for name, session in self._sessions.items() if session.state is not SessionState.RUNNING)
            oldest = next(quiet, None)
            if oldest is None:
                return
            del self._sessions[oldest]
            self.forgotten_sessions += 1

    def _payload(self, subject: Subject, session: Session | None) -> Payload:
        identity, hints = subject.conversation.identity, subject.conversation.hints
        context = self._context(subject.conversation, session, hints)
        try:
            plan = make_plan(subject.regions, self.policy, context, marks=subject.marked)
        except InvalidRange:
            # What a client says of ranges must not fail its request: without them the policy decides.
            context = self._context(subject.conversation, session, Hints(priority=hints.priority))
            plan = make_plan(subject.regions, self.policy, context, marks=subject.marked)
        return encode_plan(plan, identity.session_id)

    def _context(self, conversation: Conversation, session: Session | None, hints: Hints) -> SessionContext:
        context = SessionContext(
            client=conversation.identity.client,
            model=conversation.model,
            keeps_thinking=self._keeps_thinking,
            hints=hints,
        )
        return context if session is None else replace(context, state=session.state, role=session.role)
