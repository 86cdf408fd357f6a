"""The sessions that asked last: their turns counted, and what is recorded of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from appliance.records import SessionRecord
from appliance.request_entry import Ending, Entry

MOST_SESSIONS: Final = 4096


@dataclass(slots=True)
class _Session:
    first_seen_at: float
    turns: int = 0
    remembered_tokens: int = 0
    """Of its last prompt, when that was before this box was started."""


class SessionTurns:
    """At most `MOST_SESSIONS`; `forgotten` counts others."""

    def __init__(self) -> None:
        self.forgotten = 0
        self.plan_of: Callable[[str], Mapping[str, Any] | None] = lambda _session: None
        """What is needed to plan for a session again; goes into its record."""
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._resumed_at: float | None = None

    def resume(self, sessions: Iterable[SessionRecord], now: float) -> None:
        """Count on from what is remembered of them; the one used last comes last."""
        self._resumed_at = now
        for record in sessions:
            turns, tokens = record.turns or 0, record.prompt_tokens or 0
            self._sessions[record.name] = _Session(record.first_seen_at, turns, tokens)
            self._sessions.move_to_end(record.name)

    def began(self, entry: Entry) -> None:
        """A request of a session, if it names one. Its turn is set, and what is remembered from before a restart."""
        session_id = entry.identity.session_id
        if session_id is None:
            return
        session = self._sessions.setdefault(session_id, _Session(entry.arrived_at))
        self._sessions.move_to_end(session_id)
        session.turns += 1
        entry.turn = session.turns
        if session.remembered_tokens:
            entry.remembered_tokens, entry.remembered_at = session.remembered_tokens, self._resumed_at
            session.remembered_tokens = 0
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
            self.forgotten += 1

    def turns(self, session_id: str) -> int | None:
        """How many requests of it there were; `None` for one that is not known."""
        session = self._sessions.get(session_id)
        return None if session is None else session.turns

    def record(self, entry: Entry, ending: Ending, now: float) -> SessionRecord | None:
        """As the request leaves its session; `None` for one that is not known, or in an unknown state."""
        name = entry.identity.session_id
        session = None if name is None else self._sessions.get(name)
        if name is None or session is None or ending.state is None:
            return None
        return SessionRecord(
            name,
            entry.identity.parent_session_id,
            entry.identity.client,
            entry.model,
            ending.state,
            session.turns,
            session.first_seen_at,
            now,
            entry.prompt_tokens,
            self.plan_of(name),
        )
