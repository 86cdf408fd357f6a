"""What a policy may look at beside the region."""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.cache.session_state import SessionRole, SessionState
from appliance.conversation import Hints


@dataclass(frozen=True, slots=True)
class SessionContext:
    """`client` is the user agent. `keeps_thinking` tells whether the model's template will still show the thoughts of
    this turn in the next one. `shared`: another session opens with the same system text and tools. `None`: unknown."""

    state: SessionState = SessionState.RUNNING
    role: SessionRole = SessionRole.LEAD
    client: str | None = None
    model: str | None = None
    keeps_thinking: bool | None = None
    shared: bool | None = None
    hints: Hints = field(default_factory=Hints)
