"""What operators have said about sessions, each word for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from appliance.conversation import Hints, RetentionDirective
from appliance.errors import BoxError

MOST_HINTS: Final = 1024
MOST_OF_A_SESSION: Final = 16
LEAST_SECONDS: Final = 0.001


class TooManyHints(BoxError):
    """There is no room for one more."""


class Verb(StrEnum):
    """What lasts. A pin and a release go before all that clients and policies say; the others are added to it."""

    PIN = "pin"
    RELEASE = "release"
    TTL = "ttl"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class OperatorHint:
    """Times are seconds since 1970. Of `PIN` and `RELEASE` the range of tokens and their `priority`, of `TTL` the
    `ttl_seconds` after the last use, of `PRIORITY` the `priority` of the session's requests."""

    id: str
    verb: Verb
    session: str
    by: str
    given_at: float
    expires_at: float
    token_start: int = 0
    token_end: int | None = None
    priority: int | None = None
    ttl_seconds: float | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON can hold them."""
        return asdict(self) | {"verb": self.verb.value}


def hint_of(facts: Mapping[str, Any]) -> OperatorHint:
    """From what `facts` gave. Raises `ValueError` or `TypeError` for anything else."""
    return OperatorHint(**{**facts, "verb": Verb(facts["verb"])})


class Mark(NamedTuple):
    """The first `tokens` tokens are kept for `ttl_seconds` after their last use."""

    tokens: int
    ttl_seconds: float


class Served(NamedTuple):
    """Turns of a session that engines have read, with the tokens of their prompts and those read from cache."""

    turns: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0


class HintBook:
    """Of a session the newest word comes first. What has expired counts no longer, also before `expire` is called."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._hints: dict[str, OperatorHint] = {}
        self._by_session: dict[str, list[OperatorHint]] = {}
        self._served: dict[str, Served] = {}

    def __len__(self) -> int:
        return len(self._hints)

    def add(self, hint: OperatorHint) -> None:
        """Raises `TooManyHints`, and changes nothing then."""
        known = self._by_session.get(hint.session, [])
        if len(self._hints) >= MOST_HINTS:
            raise TooManyHints(f"{MOST_HINTS} hints are active, as many as may be; withdraw one")
        if len(known) >= MOST_OF_A_SESSION:
            raise TooManyHints(f"session {hint.session} has {MOST_OF_A_SESSION} hints, as many as may be; withdraw one")
        self._hints[hint.id] = hint
        self._by_session[hint.session] = [hint, *known]

    def remove(self, hint_id: str) -> OperatorHint | None:
        """`None` for one that is not active, or not any more."""
        hint = self._hints.pop(hint_id, None)
        self._served.pop(hint_id, None)
        if hint is not None:
            rest = [each for each in self._by_session[hint.session] if each.id != hint_id]
            if rest:
                self._by_session[hint.session] = rest
            else:
                del self._by_session[hint.session]
        return hint

    def expire(self) -> list[tuple[OperatorHint, Served]]:
        """Forget those whose time is over, and tell which, and what they have seen."""
        now = self._clock()
        over = [(hint, self.served(hint.id)) for hint in self._hints.values() if hint.expires_at <= now]
        for hint, _ in over:
            self.remove(hint.id)
        return over

    def turn(self, session: str | None, prompt_tokens: int, cached_tokens: int) -> None:
        """A request of the session has ended, whose prompt an engine has read."""
        for hint in self._of(session):
            turns, prompts, cached = self.served(hint.id)
            self._served[hint.id] = Served(turns + 1, prompts + prompt_tokens, cached + cached_tokens)

    def served(self, hint_id: str) -> Served:
        """Since the hint was given, or taken over from an earlier box."""
        return self._served.get(hint_id, Served())

    def restore(self, hints: Iterable[OperatorHint]) -> None:
        """Those of an earlier box whose time is not over, as far as there is room."""
        for hint in hints:
            if hint.expires_at > self._clock() and hint.id not in self._hints and len(self._hints) < MOST_HINTS:
                self.add(hint)

    def active(self) -> list[OperatorHint]:
        """In the order in which they were given."""
        now = self._clock()
        return [hint for hint in self._hints.values() if hint.expires_at > now]

    def remaining_seconds(self, hint: OperatorHint) -> float:
        return max(hint.expires_at - self._clock(), 0.0)

    def pins(self, session: str | None) -> tuple[RetentionDirective, ...]:
        """For `make_plan`. They last until the hint expires, should no other plan replace them then."""
        return tuple(
            RetentionDirective(hint.token_start, hint.token_end, hint.priority or 0, self._lasting(hint))
            for hint in self._of(session)
            if hint.verb in (Verb.PIN, Verb.RELEASE)
        )

    def marks(self, session: str | None, tokens: int) -> tuple[Mark, ...]:
        """For `make_plan`, over a prompt of so many tokens."""
        return tuple(
            Mark(tokens if hint.token_end is None else hint.token_end, hint.ttl_seconds)
            for hint in self._of(session)
            if hint.verb is Verb.TTL and hint.ttl_seconds is not None
        )

    def moved(self, session: str | None, hints: Hints) -> Hints:
        """The client's hints, with the priority that an operator has given instead."""
        given = next((hint.priority for hint in self._of(session) if hint.verb is Verb.PRIORITY), None)
        return hints if given is None else replace(hints, priority=given)

    def _of(self, session: str | None) -> list[OperatorHint]:
        known = self._by_session.get(session) if session is not None else None
        if known is None:
            return []
        now = self._clock()
        return [hint for hint in known if hint.expires_at > now]

    def _lasting(self, hint: OperatorHint) -> float:
        return max(hint.expires_at - self._clock(), LEAST_SECONDS)
