"""One rule of a policy: when it matches, and what the tokens that it matches get."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from appliance.cache.region import Region
from appliance.cache.session_context import SessionContext
from appliance.cache.session_state import SessionRole, SessionState
from appliance.cache.tier import ALL_TIERS, Tier
from appliance.conversation import Hints

ANY_REGION: Final = frozenset(Region)
ANY_STATE: Final = frozenset(SessionState)
ANY_ROLE: Final = frozenset(SessionRole)
HINTS: Final = ("priority", "strict_priority", "output_tokens", "total_requests", "tool_wait_ms")
"""The hints that a rule may set bounds for."""


class Bounds(NamedTuple):
    """Both ends belong to it; `None` is no bound. A hint that was not given is outside of any bounds."""

    low: int | None = None
    high: int | None = None

    def contain(self, value: int | None) -> bool:
        if value is None:
            return False
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class Condition:
    """All of it must hold. `client` and `model` are patterns with `*` and `?`, in whichever case; what is unknown
    counts as empty text. `keeps_thinking` and `shared` set to either match only what is known."""

    regions: frozenset[Region] = ANY_REGION
    states: frozenset[SessionState] = ANY_STATE
    roles: frozenset[SessionRole] = ANY_ROLE
    keeps_thinking: bool | None = None
    shared: bool | None = None
    client: str | None = None
    model: str | None = None
    hints: tuple[tuple[str, Bounds], ...] = ()

    def matches(self, region: Region, context: SessionContext) -> bool:
        return (
            region in self.regions
            and context.state in self.states
            and context.role in self.roles
            and self.keeps_thinking in (None, context.keeps_thinking)
            and self.shared in (None, context.shared)
            and _fits(self.client, context.client)
            and _fits(self.model, context.model)
            and all(bounds.contain(hint_value(context.hints, name)) for name, bounds in self.hints)
        )


def hint_value(hints: Hints, name: str) -> int | None:
    """The hint of this name, one of `HINTS`."""
    if name == "tool_wait_ms":
        return None if hints.tool_wait_seconds is None else round(hints.tool_wait_seconds * 1000)
    value: int | None = getattr(hints, name)
    return value


def _fits(pattern: str | None, text: str | None) -> bool:
    return pattern is None or fnmatchcase((text or "").lower(), pattern.lower())


@dataclass(frozen=True, slots=True)
class Rule:
    """`duration_seconds` counts from the last use, `None`: no end. With `caps_rest` nothing behind what it matches is
    worth more. `file` and `line` are where it stands."""

    condition: Condition
    priority: int
    duration_seconds: float | None = None
    tiers: Tier = ALL_TIERS
    caps_rest: bool = False
    file: Path = Path()
    line: int = 1

    @property
    def label(self) -> str:
        """How reports call it."""
        return f"{self.file.name}:{self.line}"
